/** What becomes of a number that was typed: within its limits, and said where it was changed. */
export function taken(
  text: string,
  field: { readonly low: number; readonly high: number; readonly kind: string },
  now: number,
): { value: number; said: string } {
  const wanted = text.trim() === "" ? Number.NaN : Number(text);
  const range = `${field.low} to ${field.high}`;
  if (!Number.isFinite(wanted))
    return { value: now, said: `That is no number from ${range}: ${now} stays.` };
  const inside = Math.min(field.high, Math.max(field.low, wanted));
  const value = field.kind === "int" ? Math.round(inside) : inside;
  if (value === wanted) return { value, said: "" };
  const why = inside === wanted ? "no whole number" : `outside ${range}`;
  return { value, said: `${wanted} is ${why}: ${value} is used.` };
}
