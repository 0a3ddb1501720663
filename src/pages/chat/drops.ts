// Files dropped anywhere on the page become attachments, and never a navigation away from it.

/** Takes drops while `open` says so and no dialog is in the way. */
export function acceptDrops(open: () => boolean, add: (files: Iterable<File>) => void): void {
  const root = document.documentElement;
  let depth = 0;
  const wanted = (event: DragEvent): boolean =>
    event.dataTransfer?.types.includes("Files") === true && document.querySelector("dialog[open]") === null && open();
  const end = () => {
    depth = 0;
    root.classList.remove("dropping");
  };
  window.addEventListener("dragenter", (event) => {
    if (!wanted(event)) return;
    depth += 1;
    root.classList.add("dropping");
  });
  window.addEventListener("dragleave", () => {
    depth -= 1;
    if (depth <= 0) end();
  });
  window.addEventListener("dragover", (event) => event.preventDefault());
  window.addEventListener("drop", (event) => {
    event.preventDefault();
    if (wanted(event)) add(event.dataTransfer?.files ?? []);
    end();
  });
}
