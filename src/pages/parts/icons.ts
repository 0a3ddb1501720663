// The icons: 24-unit line drawings of our own, one stroke weight, drawn in the colour of the text around them.

const SHAPES = {
  send: ["M5 12h13", "M12.5 5.5 19 12l-6.5 6.5"],
  stop: ["M8 8h8v8H8z"],
  attach: ["M19 11.5 12.2 18.3a4.2 4.2 0 0 1-6-6L13 5.5a2.8 2.8 0 0 1 4 4l-6.7 6.7a1.4 1.4 0 0 1-2-2L14.5 8"],
  close: ["M6.5 6.5l11 11", "M17.5 6.5l-11 11"],
  menu: ["M4.5 7h15", "M4.5 12h15", "M4.5 17h9"],
  plus: ["M12 5.5v13", "M5.5 12h13"],
  down: ["M6.5 9.5 12 15l5.5-5.5"],
  right: ["M9.5 6.5 15 12l-5.5 5.5"],
  arrowDown: ["M12 5.5v13", "M6 12.5l6 6 6-6"],
  up: [
    "M8 11V19",
    "M8 11l3.4-6.3a1.9 1.9 0 0 1 2.3 2.3L13 10h4.7a1.8 1.8 0 0 1 1.8 2.2l-1.2 5.4A1.8 1.8 0 0 1 16.5 19H8",
    "M8 11H4.5v8H8",
  ],
  thumbDown: [
    "M8 13V5",
    "M8 13l3.4 6.3a1.9 1.9 0 0 0 2.3-2.3L13 14h4.7a1.8 1.8 0 0 0 1.8-2.2l-1.2-5.4A1.8 1.8 0 0 0 16.5 5H8",
    "M8 13H4.5V5H8",
  ],
  copy: ["M9 9h10v10H9z", "M15 9V5H5v10h4"],
  check: ["M5.5 12.5 10 17l8.5-9.5"],
  again: ["M18.5 8.5A7.5 7.5 0 1 0 19.4 13", "M19 4.5v4.3h-4.3"],
  chat: ["M5 6.5h14v9.5h-8L7 19.5V16H5z"],
  bot: ["M6 9.5h12V18H6z", "M12 9.5V6", "M9.8 13.2v1.2", "M14.2 13.2v1.2", "M12 4.6a.7.7 0 1 0 0 1.4.7.7 0 0 0 0-1.4z"],
  person: ["M12 12.2a3.6 3.6 0 1 0 0-7.2 3.6 3.6 0 0 0 0 7.2z", "M5 19.5c.8-3 3.5-4.6 7-4.6s6.2 1.6 7 4.6"],
  document: ["M7 4.5h7l4 4v11H7z", "M14 4.5v4h4", "M10 12.5h5", "M10 15.5h5"],
  book: ["M12 7c-1.8-1.4-4-1.8-7-1.8v12.6c3 0 5.2.4 7 1.8 1.8-1.4 4-1.8 7-1.8V5.2c-3 0-5.2.4-7 1.8z", "M12 7v12.6"],
  upload: ["M12 15.5V5", "M7.5 9 12 4.5 16.5 9", "M5 15.5V19h14v-3.5"],
  download: ["M12 4.5V15", "M7.5 11l4.5 4.5 4.5-4.5", "M5 19.5h14"],
  warning: ["M12 4.5 20.5 19h-17z", "M12 10v4", "M12 16.4v.4"],
  info: ["M12 20a8 8 0 1 0 0-16 8 8 0 0 0 0 16z", "M12 11v5", "M12 8v.4"],
  offline: [
    "M4.5 4.5l15 15",
    "M5 9.8a11 11 0 0 1 3.2-1.9",
    "M12 7a11 11 0 0 1 7 2.8",
    "M8 13.3a6 6 0 0 1 4.3-1.5",
    "M12 17.6v.4",
  ],
  star: ["M12 4.5l2.3 4.8 5.2.7-3.8 3.6.9 5.2L12 16.3l-4.6 2.5.9-5.2L4.5 10l5.2-.7z"],
  more: ["M6 12v.01", "M12 12v.01", "M18 12v.01"],
  search: ["M11 17a6 6 0 1 0 0-12 6 6 0 0 0 0 12z", "M15.5 15.5 20 20"],
  pin: ["M9 4.5h6l-.8 6 2.8 3H7l2.8-3z", "M12 13.5v6"],
  archive: ["M4.5 5.5h15V9h-15z", "M6 9v10h12V9", "M10 12.5h4"],
  trash: ["M5 7h14", "M9.5 7V4.5h5V7", "M7 7l.8 12.5h8.4L17 7", "M10.3 10.5v5.5", "M13.7 10.5v5.5"],
  edit: ["M5 19l.8-3.8L15.6 5.4a1.6 1.6 0 0 1 2.3 0l.7.7a1.6 1.6 0 0 1 0 2.3L8.8 18.2z"],
  signOut: ["M14 5.5H6v13h8", "M11 12h9", "M16.5 8.5 20 12l-3.5 3.5"],
  key: ["M9 18.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9z", "M12.2 10.8 19 4", "M15.5 7.5l2.8 2.8"],
  tool: ["M14.5 6.2a4 4 0 0 1 5 5L11 19.6a2 2 0 0 1-2.8 0l-.8-.8a2 2 0 0 1 0-2.8z", "M4.5 7.5l4 4"],
} as const satisfies Record<string, readonly string[]>;

export type IconName = keyof typeof SHAPES;

const SVG = "http://www.w3.org/2000/svg";

/** A drawing without a name for screen readers: the control around it carries the words. */
export function icon(name: IconName): SVGSVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("fill", "none");
  svg.setAttribute("stroke", "currentColor");
  svg.setAttribute("stroke-width", name === "more" ? "2.6" : "1.7");
  svg.setAttribute("stroke-linecap", "round");
  svg.setAttribute("stroke-linejoin", "round");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("focusable", "false");
  for (const shape of SHAPES[name]) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", shape);
    svg.append(path);
  }
  return svg;
}
