/** From the grid of a layout to the screen. */
import type { Layout, Place, Point, Wire } from "./layouts";

export type Pixel = readonly [x: number, y: number];

const ROW = 66;
const EDGE = { x: 26, y: 31 };
const COLUMNS = 5; // the last one
export const ROUND = 15; // the radius of an operation
const HALF = { gate: [22, 26], state: [22, 26], operation: [ROUND, ROUND] } as const;
export const ARROW = 7;

export const heightOf = (layout: Layout): number => 2 * EDGE.y + layout.rows * ROW;

export function onScreen([column, row, dx = 0, dy = 0]: Point, width: number): Pixel {
  return [EDGE.x + (column * (width - 2 * EDGE.x)) / COLUMNS + dx, EDGE.y + row * ROW + dy];
}

/** Half the width of a place: the sign of an operation may be a word. */
export function halfOf(place: Place): Pixel {
  return place.shape === "operation" && place.face.length > 2 ? [19, ROUND] : HALF[place.shape];
}

/** The corners of a wire, from the edge of the one place to the edge of the other. */
export function corners(wire: Wire, layout: Layout, width: number): Pixel[] {
  const ends = [
    { end: wire.from, shift: wire.leave ?? [0, 0] },
    { end: wire.to, shift: wire.enter ?? [0, 0] },
  ] as const;
  const places = ends.map(({ end }) => layout.places.find((place) => place.id === end));
  const [from, to] = ends.map(({ end, shift: [dx, dy] }, at): Pixel => {
    const point = places[at]?.at ?? (end as Point);
    const [x, y] = onScreen(point, width);
    return [x + dx, y + dy];
  }) as [Pixel, Pixel];
  const points = [from, ...(wire.via ?? []).map((point) => onScreen(point, width)), to];
  const last = points.length - 1;
  const trimmed = [...points];
  if (places[0])
    trimmed[0] = outside(from, points[1] ?? to, onScreen(places[0].at, width), places[0]);
  if (places[1])
    trimmed[last] = outside(to, points[last - 1] ?? from, onScreen(places[1].at, width), places[1]);
  return trimmed;
}

/** The end moved along the wire to the edge of the place that it belongs to. */
function outside(end: Pixel, next: Pixel, middle: Pixel, place: Place): Pixel {
  const [halfWidth, halfHeight] = halfOf(place);
  const across = Math.abs(next[0] - end[0]) >= Math.abs(next[1] - end[1]);
  return across
    ? [middle[0] + Math.sign(next[0] - end[0]) * halfWidth, end[1]]
    : [end[0], middle[1] + Math.sign(next[1] - end[1]) * halfHeight];
}

function towards(from: Pixel, to: Pixel, length: number): Pixel {
  const distance = Math.hypot(to[0] - from[0], to[1] - from[1]);
  const share = distance === 0 ? 0 : Math.min(1, length / distance);
  return [from[0] + (to[0] - from[0]) * share, from[1] + (to[1] - from[1]) * share];
}

/** A path through corners that are rounded; shortened where an arrow stands. */
export function path(points: readonly Pixel[], arrow: "start" | "end"): string {
  const moved = [...points];
  const last = moved.length - 1;
  const [first, second] = [points[0], points[1]] as [Pixel, Pixel];
  const [end, before] = [points[last], points[last - 1]] as [Pixel, Pixel];
  if (arrow === "start") moved[0] = towards(first, second, ARROW);
  else moved[last] = towards(end, before, ARROW);
  let drawn = `M${spell(moved[0] as Pixel)}`;
  for (let at = 1; at < last; at += 1) {
    const [a, b, c] = moved.slice(at - 1, at + 2) as [Pixel, Pixel, Pixel];
    const radius = Math.min(8, distance(a, b) / 2, distance(b, c) / 2);
    drawn += `L${spell(towards(b, a, radius))}Q${spell(b)} ${spell(towards(b, c, radius))}`;
  }
  return `${drawn}L${spell(moved[last] as Pixel)}`;
}

const distance = (a: Pixel, b: Pixel): number => Math.hypot(a[0] - b[0], a[1] - b[1]);
const spell = ([x, y]: Pixel): string => `${Math.round(x * 10) / 10} ${Math.round(y * 10) / 10}`;

/** The head of an arrow, at one end of a wire of that width. */
export function arrowhead(points: readonly Pixel[], arrow: "start" | "end", width: number): string {
  const order = arrow === "end" ? [...points].reverse() : points;
  const [tip, next] = [order[0], order[1]] as [Pixel, Pixel];
  const back = towards(tip, next, ARROW + 0.5);
  const half = 2.5 + width / 2;
  const length = distance(tip, back) || 1;
  const [nx, ny] = [(-(back[1] - tip[1]) / length) * half, ((back[0] - tip[0]) / length) * half];
  return `M${spell(tip)}L${spell([back[0] + nx, back[1] + ny])}L${spell([back[0] - nx, back[1] - ny])}Z`;
}

const DIRECTIONS: Readonly<Record<string, Pixel>> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

/** The place that an arrow key leads to: the nearest in its direction; itself where there is none. */
export function neighbour(layout: Layout, id: string, key: string): string {
  const direction = DIRECTIONS[key];
  const here = layout.places.find((place) => place.id === id);
  if (!direction || !here) return id;
  let [best, found] = [Infinity, id];
  for (const place of layout.places) {
    const [dx, dy] = [place.at[0] - here.at[0], place.at[1] - here.at[1]];
    const ahead = dx * direction[0] + dy * direction[1];
    const aside = Math.abs(dx * direction[1]) + Math.abs(dy * direction[0]);
    if (ahead <= 0) continue;
    const far = ahead + 2 * aside;
    if (far < best) [best, found] = [far, place.id];
  }
  return found;
}
