/** Shares one upon the other: what is positive up from zero, what is negative down from it. */

type Values = readonly (number | null)[];

export interface Area {
  readonly from: Values;
  readonly to: Values;
}

/**
 * Of each of the shares the area above zero and that below. Where a share changes its sign, one of
 * the two becomes thin and the other one thick: neither jumps over the others.
 */
export function stacked(shares: readonly Values[]): { readonly up: Area; readonly down: Area }[] {
  const count = Math.max(0, ...shares.map((one) => one.length));
  const [above, below] = [new Float64Array(count), new Float64Array(count)];
  const side = (values: Values, sum: Float64Array, part: (value: number) => number): Area => {
    const [from, to]: (number | null)[][] = [[], []];
    for (let at = 0; at < count; at++) {
      const value = values[at] ?? null;
      const start = sum[at] as number;
      if (value !== null) sum[at] = start + part(value);
      from?.push(value === null ? null : start);
      to?.push(value === null ? null : (sum[at] as number));
    }
    return { from: from ?? [], to: to ?? [] };
  };
  return shares.map((values) => ({
    up: side(values, above, (value) => Math.max(0, value)),
    down: side(values, below, (value) => Math.min(0, value)),
  }));
}

/** How far a stack reaches, within `limit` beyond 0 and 1; from 0 to 1 at least. */
export function reachOf(shares: readonly Values[], limit: number): [number, number] {
  let [low, high] = [0, 1];
  for (const { up, down } of stacked(shares)) {
    for (const value of up.to) high = Math.max(high, value ?? 1);
    for (const value of down.to) low = Math.min(low, value ?? 0);
  }
  return [Math.max(-limit, low), Math.min(1 + limit, high)];
}
