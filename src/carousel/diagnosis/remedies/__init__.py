"""Remedies: what a finding proposes, one a file."""

from carousel.diagnosis.remedies._carry_state import CarryState
from carousel.diagnosis.remedies._chrono import Chrono
from carousel.diagnosis.remedies._clipping import Clipping
from carousel.diagnosis.remedies._flossing import Flossing
from carousel.diagnosis.remedies._forget_bias import ForgetBias
from carousel.diagnosis.remedies._identity import Identity
from carousel.diagnosis.remedies._omega import PascanuOmega
from carousel.diagnosis.remedies._orthogonal import Orthogonal
from carousel.diagnosis.remedies._remedy import Applied, Remedy
from carousel.diagnosis.remedies._state_dtype import StateDtype
from carousel.diagnosis.remedies._swap_lstm import LSTMInPlaceOfRNN, OwnLSTMInPlaceOfRNN, SwapToLSTM
from carousel.diagnosis.remedies._truncation_length import TruncationLength

__all__ = [
    "Applied",
    "CarryState",
    "Chrono",
    "Clipping",
    "Flossing",
    "ForgetBias",
    "Identity",
    "LSTMInPlaceOfRNN",
    "Orthogonal",
    "OwnLSTMInPlaceOfRNN",
    "PascanuOmega",
    "Remedy",
    "StateDtype",
    "SwapToLSTM",
    "TruncationLength",
]
