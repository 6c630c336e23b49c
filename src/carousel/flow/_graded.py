"""Singular values of matrices whose rows differ by hundreds of decimals.

    A = X diag(e^l) U Y^T        X, Y orthonormal, U with entries up to 1, l natural logarithms

A long product of Jacobians has singular values like 1 and 1e-300 at once. An ordinary SVD keeps 16
decimals below the largest; here each row has a scale of its own, and QR goes back and forth between
the two sides (A -> L -> R -> ..), each time with the scales taken out, until U is diagonal. QR acts
on columns, of which every one may be scaled as one likes, so no scale ever meets another. (The
iteration: Mathias & Stewart 1993, "A block QR algorithm and the singular value decomposition";
graded products: Stewart 1995, "On graded QR decompositions of products of matrices".)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from carousel.flow._frame import RESOLVED

__all__ = ["Graded", "identity", "singular", "times"]

MOST_SWEEPS = 200
SWEEPS_AT_ONCE = 8  # after so many it is seen whether what is left is a matter for an ordinary SVD
DIAGONAL = 1e-13  # what stands beside the diagonal, relative to it, when a sweep is the last
NARROW = math.log(1e5)  # range of a block of which an ordinary SVD gives 11 decimals
LEAST_OF_BLOCK = (
    1e-8  # below that, relative to its block's largest, a singular value is not resolved
)


@dataclass(frozen=True)
class Graded:
    """diag(e^log_scale) @ rows; a row of zeros has the scale -inf."""

    log_scale: Tensor  # [B, k]
    rows: Tensor  # [B, k, k], the largest entry of a row is 1 in size

    @staticmethod
    def of(rows: Tensor, log_columns: Tensor) -> Graded:
        """``rows @ diag(e^log_columns)``, with the scale of each row taken out."""
        logs = rows.abs().log() + log_columns.unsqueeze(-2)
        log_scale = logs.amax(-1)
        # Where a row is zero, so that -inf does not meet -inf.
        offset = torch.where(log_scale == -math.inf, 0.0, log_scale)
        return Graded(log_scale, rows.sign() * (logs - offset.unsqueeze(-1)).exp())


def identity(batch: int, count: int, device: torch.device) -> Graded:
    """The identity, [B, k, k] float64."""
    rows = torch.eye(count, dtype=torch.float64, device=device).expand(batch, -1, -1)
    return Graded(rows.new_zeros(batch, count), rows)


def times(triangle: Tensor, graded: Graded) -> Graded:
    """``triangle @ graded``, for an upper triangle [B, k, k]."""
    left = Graded.of(triangle, graded.log_scale)
    rows = left.rows @ graded.rows
    scaled = Graded.of(rows, rows.new_zeros(rows.shape[0], rows.shape[-1]))
    return Graded(left.log_scale + scaled.log_scale, scaled.rows)


def singular(graded: Graded) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The singular value decomposition A = X diag(sigma) Y^T of every matrix.

    Returns:
        ln sigma [B, k], the largest first, -inf for zero and for what rounding makes of it; X and
        Y [B, k, k], singular vectors as columns; and which values are resolved [B, k].
    """
    batch, count = graded.log_scale.shape
    eye = torch.eye(count, dtype=torch.float64, device=graded.rows.device).expand(batch, -1, -1)
    x, y = eye, eye
    for sweep in range(MOST_SWEEPS):
        graded, x, y = _swept(graded, x, y)
        if not bool((_beside(graded) > DIAGONAL).any()):
            break
        if sweep % SWEEPS_AT_ONCE == 0 and _is_narrow(graded):
            break
    return _read_off(graded, x, y)


def _swept(graded: Graded, x: Tensor, y: Tensor) -> tuple[Graded, Tensor, Tensor]:
    """One QR of the transpose and one of what that leaves, largest scales first in both."""
    log_scale, order = graded.log_scale.sort(dim=-1, descending=True, stable=True)
    rows = graded.rows.gather(-2, order.unsqueeze(-1).expand_as(graded.rows))
    x = x.gather(-1, order.unsqueeze(-2).expand_as(x))
    # A^T = U^T diag(e^l) = Q R diag(e^l): the columns keep their scales
    q, r = torch.linalg.qr(rows.mT)
    y = y @ q
    # L = diag(e^l) R^T = L' diag(e^m)
    columns = Graded.of(r, log_scale)  # of L^T: its rows are the columns of L
    m, order = columns.log_scale.sort(dim=-1, descending=True, stable=True)
    lower = columns.rows.gather(-2, order.unsqueeze(-1).expand_as(columns.rows)).mT
    y = y.gather(-1, order.unsqueeze(-2).expand_as(y))
    q, r = torch.linalg.qr(lower)
    return Graded.of(r, m), x @ q, y


def _beside(graded: Graded) -> Tensor:
    """|u_ij / u_ii| for j > i, 0 where row i is zero, [B, k, k]."""
    diagonal = graded.rows.diagonal(dim1=-2, dim2=-1).abs().unsqueeze(-1)
    beside = graded.rows.abs().triu(1)
    return torch.where(beside == 0, 0.0, beside / diagonal).masked_fill(
        _vanished(graded).unsqueeze(-1), 0.0
    )


def _vanished(graded: Graded) -> Tensor:
    """Rows [B, k] of which nothing but rounding stands on the diagonal."""
    return graded.rows.diagonal(dim1=-2, dim2=-1).abs() <= RESOLVED


def _read_off(graded: Graded, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    diagonal = graded.rows.diagonal(dim1=-2, dim2=-1)
    logs = torch.where(_vanished(graded), -math.inf, diagonal.abs().log() + graded.log_scale)
    x = x * torch.where(diagonal < 0, -1.0, 1.0).unsqueeze(-2)
    resolved = torch.ones_like(logs, dtype=torch.bool)
    beside = _beside(graded) > DIAGONAL
    for b in beside.any(-1).any(-1).nonzero().flatten().tolist():
        for first, last in _blocks(beside[b]):
            _finish(graded, b, slice(first, last + 1), (logs, x, y, resolved))
    logs, order = logs.sort(dim=-1, descending=True, stable=True)
    x = x.gather(-1, order.unsqueeze(-2).expand_as(x))
    y = y.gather(-1, order.unsqueeze(-2).expand_as(y))
    return logs, x, y, resolved.gather(-1, order)


def _is_narrow(graded: Graded) -> bool:
    """Whether all that is not diagonal yet lies in blocks of a small range."""
    beside = _beside(graded) > DIAGONAL
    return all(
        float(scale[first : last + 1].max() - scale[first : last + 1].min()) <= NARROW
        for scale, own in zip(graded.log_scale, beside, strict=True)
        for first, last in _blocks(own)
    )


def _blocks(beside: Tensor) -> list[tuple[int, int]]:
    """First and last row of each group that is not diagonal yet."""
    groups: list[tuple[int, int]] = []
    columns = torch.arange(len(beside), device=beside.device)
    for i, last in enumerate(torch.where(beside, columns, -1).amax(-1).tolist()):
        if last < 0:
            continue
        if groups and i <= groups[-1][1]:
            groups[-1] = (groups[-1][0], max(groups[-1][1], last))
        else:
            groups.append((i, last))
    return groups


def _finish(
    graded: Graded, b: int, part: slice, into: tuple[Tensor, Tensor, Tensor, Tensor]
) -> None:
    """An ordinary SVD of values that lie too close together for the sweeps to part them."""
    logs, x, y, resolved = into
    scale = graded.log_scale[b, part]
    largest = scale.max()
    matrix = (scale - largest).exp().unsqueeze(-1) * graded.rows[b, part, part]
    signs = torch.where(graded.rows[b].diagonal()[part] < 0, -1.0, 1.0)
    u, sigma, v = torch.linalg.svd(matrix)
    logs[b, part] = sigma.log() + largest
    x[b, :, part] = (x[b, :, part] * signs) @ u
    y[b, :, part] = y[b, :, part] @ v.mT
    resolved[b, part] = sigma > LEAST_OF_BLOCK * sigma[0]
