/** The diagram as text: a row for each part, with all that its panel says in numbers. */
import type { Table } from "../chart/Figure.svelte";
import { indexed, plainEquation } from "./equation";
import type { Layout } from "./layouts";
import { plainSigned, plainValue, type Reader, shareText, signedText } from "./numbers";
import type { Part } from "./parts";

export function tableOf(layout: Layout, parts: Readonly<Record<string, Part>>, r: Reader): Table {
  const s = r.run.state;
  const rows = layout.places.flatMap(({ id }) => {
    const part = parts[id];
    if (part === undefined) return [];
    return [
      [
        part.name,
        part.equations.map(plainEquation).join("; "),
        part.before === undefined ? "" : plainValue(r.value(part.before)),
        plainValue(r.value(part.value)),
        plainValue(r.mean(part.value)),
        part.slope === undefined ? "" : plainValue(r.slope(part.slope.of)),
        part.gradient === undefined ? "" : plainSigned(r.gradient(part.gradient.of)),
        part.way === undefined ? "" : plainSigned(r.way(part.way)),
      ],
    ];
  });
  return {
    header: [
      `step ${r.step}, unit ${r.unit}`,
      "equation",
      "before the activation",
      "value",
      "mean of all units",
      "derivative",
      "gradient",
      `part of dL/d${s}[t−1]`,
    ],
    rows,
  };
}

/** One sentence about the step as a whole. */
export function summaryOf(layout: Layout, r: Reader): string {
  const s = r.run.state;
  const last = (r.run.values[0]?.of_unit.length ?? 1) - 1;
  const where = `Step ${r.step} (the last is ${last}), unit ${r.unit} of ${r.units}`;
  const now = `∂L/∂${s}_t = ${signedText(r.gradient(s))}`;
  if (r.step === 0) return indexed(`${where} of ${layout.name}: ${now}. It is the first step.`);
  const before = `∂L/∂${s}_t-1 = ${signedText(r.gradient(s, r.step - 1))}`;
  return indexed(`${where} of ${layout.name}: ${now}, and one step back ${before}${carousel(r)}.`);
}

function carousel(r: Reader): string {
  if (!r.run.ways.some(({ name }) => name === "direct")) {
    return "; there is no carousel, all of it came through the recurrent weights or from outside";
  }
  const share = r.share("direct");
  return share === null ? "" : `; along the carousel came ${shareText(share)}`;
}
