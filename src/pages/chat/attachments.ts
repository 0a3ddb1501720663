// Files of a conversation: choosing, dropping and pasting them, sending them with progress, showing what came.
import { ApiFault, fetchRaw, upload } from "../parts/api.ts";
import { asObjects } from "../parts/wire.ts";
import { el } from "../parts/dom.ts";
import { faultText } from "../parts/forms.ts";
import { icon } from "../parts/icons.ts";
import { formatSize, t } from "../parts/texts.ts";
import type { Conversation } from "./conversation.ts";
import { readAttachment } from "./protocol.ts";
import type { Attachment } from "./protocol.ts";

const MOST = 10;
/** Kinds of picture that a browser draws without running anything in them; SVG is not among them. */
const PICTURES = ["image/png", "image/jpeg", "image/webp", "image/gif"];

/** Hands a file to the browser's download. */
export function saveBlob(blob: Blob, name: string): void {
  const address = URL.createObjectURL(blob);
  const link = el("a", { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 30_000);
}

/** The files of a message: pictures are shown, everything else is a button that downloads. */
export function attachmentList(
  chat: Conversation,
  files: readonly Attachment[],
  fault: (fault: unknown) => void,
): HTMLElement {
  const read = async (file: Attachment) => {
    const response = await fetchRaw(chat.here(`/attachments/${file.id}`), { token: await chat.token() });
    return response.blob();
  };
  return el(
    "ul",
    { class: "files", "aria-label": t("attachments") },
    ...files.map((file) => {
      const item = el("li", {});
      const save = () => read(file).then((blob) => saveBlob(blob, file.name), fault);
      item.append(
        el(
          "button",
          { type: "button", class: "file", title: t("download"), onclick: save },
          icon("document"),
          el("span", { class: "name" }, file.name),
          el("span", { class: "size" }, formatSize(file.size)),
        ),
      );
      if (PICTURES.includes(file.mime)) {
        whenSeen(item, () => {
          read(file).then((blob) => {
            // The type is fixed here, so that bytes which are something else are never drawn as that.
            const address = URL.createObjectURL(new Blob([blob], { type: file.mime }));
            const picture = el("img", { class: "picture", alt: file.name, src: address });
            picture.addEventListener("load", () => URL.revokeObjectURL(address), { once: true });
            item.replaceChildren(
              el("button", { type: "button", class: "picture-button", title: t("download"), onclick: save }, picture),
            );
          }, fault);
        });
      }
      return item;
    }),
  );
}

function whenSeen(element: Element, seen: () => void): void {
  const observer = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    seen();
  });
  observer.observe(element);
}

interface Slot {
  element: HTMLLIElement;
  done: Attachment | null;
  abort: () => void;
}

/** The tray of files above the composer. `ready` gives what may be sent; null while one is still on its way. */
export function attachmentTray(
  chat: Conversation,
  tray: HTMLElement,
  changed: () => void,
  say: (text: string) => void,
) {
  const slots = new Set<Slot>();
  const refresh = () => {
    tray.hidden = tray.childElementCount === 0;
    changed();
  };

  const add = (file: File) => {
    if (slots.size >= MOST) {
      say(t("tooManyFiles", { n: MOST }));
      return;
    }
    const bar = el("progress", {
      class: "progress",
      max: 1,
      value: 0,
      "aria-label": t("uploading", { name: file.name }),
    });
    const note = el("span", { class: "size" }, formatSize(file.size));
    const remove = el(
      "button",
      { type: "button", class: "icon-button small", "aria-label": t("removeFile", { name: file.name }) },
      icon("close"),
    );
    const element = el(
      "li",
      { class: "file" },
      icon("document"),
      el("span", { class: "name" }, file.name),
      note,
      bar,
      remove,
    );
    const slot: Slot = { element, done: null, abort: () => undefined };
    remove.addEventListener("click", () => {
      slot.abort();
      slots.delete(slot);
      element.remove();
      refresh();
    });
    slots.add(slot);
    tray.append(element);
    refresh();
    const send = async () => {
      const form = new FormData();
      form.append("file", file, file.name);
      const sending = upload(chat.here("/attachments"), form, await chat.token(), (share) => {
        bar.value = share;
      });
      slot.abort = sending.abort;
      const answer = await sending.done;
      const row = asObjects(answer["attachments"])[0];
      if (!row) throw new ApiFault(1, "SERVER_ERROR", t("unexpected"), {});
      slot.done = readAttachment(row);
      bar.remove();
      element.classList.add("done");
      say(t("fileReady", { name: file.name }));
      refresh();
    };
    send().then(undefined, (fault: unknown) => {
      if (!slots.has(slot)) return;
      bar.remove();
      element.classList.add("failed");
      note.textContent = fault instanceof Error ? faultText(fault) : "";
      say(faultText(fault));
      // It takes no part in sending any more, and stays to be read until it is removed.
      slots.delete(slot);
      changed();
    });
  };

  return {
    add: (files: Iterable<File>) => {
      for (const file of files) add(file);
    },
    busy: () => [...slots].some((slot) => slot.done === null),
    count: () => slots.size,
    take: (): Attachment[] => {
      const done = [...slots].flatMap((slot) => slot.done ?? []);
      slots.clear();
      tray.replaceChildren();
      refresh();
      return done;
    },
  };
}
