/** Copies of a figure as files, made in the browser. */

/** The values of a table as CSV (RFC 4180). */
export function toCsv(table: {
  readonly header: readonly string[];
  readonly rows: readonly (readonly string[])[];
}): string {
  const quoted = (cell: string) =>
    /[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;
  return [table.header, ...table.rows].map((row) => `${row.map(quoted).join(",")}\r\n`).join("");
}

export function download(name: string, content: Blob): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

const KEPT = [
  "fill",
  "stroke",
  "stroke-width",
  "stroke-dasharray",
  "stroke-opacity",
  "fill-opacity",
  "opacity",
  "font-family",
  "font-size",
  "font-style",
  "font-weight",
  "text-anchor",
  "visibility",
];

/**
 * The drawing's SVG with the colours that it has on screen, so that it needs no style sheet. A canvas
 * comes in as a picture.
 */
export function svgOf(drawing: Element, title: string, summary: string): Blob {
  return new Blob([markup(drawing, title, summary)], { type: "image/svg+xml" });
}

function markup(drawing: Element, title: string, summary: string): string {
  const box = drawing.getBoundingClientRect();
  const whole = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  whole.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  whole.setAttribute("viewBox", `0 0 ${box.width} ${box.height}`);
  whole.setAttribute("width", `${box.width}`);
  whole.setAttribute("height", `${box.height}`);
  const text = (kind: string, content: string) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", kind);
    element.textContent = content;
    return element;
  };
  whole.append(text("title", title), text("desc", summary));
  const ground = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  ground.setAttribute("width", "100%");
  ground.setAttribute("height", "100%");
  ground.setAttribute("fill", getComputedStyle(document.body).backgroundColor);
  whole.append(ground);
  for (const part of drawing.querySelectorAll("canvas, svg")) {
    const place = part.getBoundingClientRect();
    const left = place.left - box.left;
    const top = place.top - box.top;
    if (part instanceof HTMLCanvasElement) {
      const image = document.createElementNS("http://www.w3.org/2000/svg", "image");
      image.setAttribute("href", part.toDataURL());
      image.setAttribute("x", `${left}`);
      image.setAttribute("y", `${top}`);
      image.setAttribute("width", `${place.width}`);
      image.setAttribute("height", `${place.height}`);
      whole.append(image);
    } else {
      const copy = part.cloneNode(true) as SVGElement;
      const [from, to] = [part.querySelectorAll("*"), copy.querySelectorAll("*")];
      from.forEach((element, at) => {
        const style = getComputedStyle(element);
        for (const name of KEPT) to[at]?.setAttribute(name, style.getPropertyValue(name));
        to[at]?.removeAttribute("class");
      });
      copy.setAttribute("x", `${left}`);
      copy.setAttribute("y", `${top}`);
      copy.setAttribute("width", `${place.width}`);
      copy.setAttribute("height", `${place.height}`);
      whole.append(copy);
    }
  }
  return new XMLSerializer().serializeToString(whole);
}

/** The same as a picture of twice the resolution. */
export async function pngOf(drawing: Element, title: string, summary: string): Promise<Blob> {
  const picture = new Image();
  picture.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(markup(drawing, title, summary))}`;
  await picture.decode();
  const canvas = document.createElement("canvas");
  canvas.width = picture.width * 2;
  canvas.height = picture.height * 2;
  const context = canvas.getContext("2d");
  context?.drawImage(picture, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) => {
    canvas.toBlob((made) =>
      made ? resolve(made) : reject(new Error("The picture is too large.")),
    );
  });
}
