// Adds documents to the bot's knowledge: choose or make a collection, send files with progress, follow the job.
import { accessToken, withAccount } from "../parts/account.ts";
import { ApiFault, call, upload } from "../parts/api.ts";
import { openDialog } from "../parts/dialog.ts";
import { el, freshId } from "../parts/dom.ts";
import { faultText, field, notice } from "../parts/forms.ts";
import { icon } from "../parts/icons.ts";
import { formatSize, t } from "../parts/texts.ts";
import { asNumber, asObject, asObjects, asText } from "../parts/wire.ts";
import type { Json } from "../parts/wire.ts";
import type { Conversation } from "./conversation.ts";

const MOST = 100;
const POLL_MS = 1000;
const NEW = "+";

/** Opens the dialog. It may be closed while a job runs: the job goes on at the server. */
export function openKnowledge(chat: Conversation): void {
  const selectId = freshId("collection");
  const select = el("select", { class: "input", id: selectId }, el("option", { value: NEW }, t("newCollection")));
  const name = field(t("collectionName"), { maxlength: 100, value: "documents" }, t("collectionNameHint"));
  const picker = el("input", { type: "file", multiple: true, class: "unseen", id: freshId("files") });
  const drop = el(
    "label",
    { class: "drop", for: picker.id },
    icon("upload"),
    el("span", {}, el("strong", {}, t("chooseFiles")), ` ${t("orDrop")}`),
    el("span", { class: "hint" }, t("formats")),
  );
  const chosen = el("ul", { class: "files", "aria-label": t("files"), hidden: true });
  const submit = el(
    "button",
    { type: "submit", class: "button primary wide", "aria-disabled": true },
    t("addToKnowledge"),
  );
  const place = el("div", { class: "job", "aria-live": "polite" });
  const form = el(
    "form",
    { class: "form", novalidate: true },
    el("div", { class: "field" }, el("label", { for: selectId }, t("collection")), select),
    name.element,
    el("div", {}, picker, drop),
    chosen,
    place,
    submit,
  );
  const dialog = openDialog(t("addKnowledge"), {}, form);
  let files: File[] = [];
  let busy = false;
  let open = true;
  dialog.closed.then(
    () => {
      open = false;
    },
    () => undefined,
  );

  const refresh = () => {
    name.element.hidden = select.value !== NEW;
    submit.setAttribute("aria-disabled", String(busy || files.length === 0));
    chosen.hidden = files.length === 0;
    chosen.replaceChildren(
      ...files.map((file) =>
        el(
          "li",
          { class: "file" },
          icon("document"),
          el("span", { class: "name" }, file.name),
          el("span", { class: "size" }, formatSize(file.size)),
          busy
            ? null
            : el(
                "button",
                {
                  type: "button",
                  class: "icon-button small",
                  "aria-label": t("removeFile", { name: file.name }),
                  onclick: () => {
                    files = files.filter((other) => other !== file);
                    refresh();
                    picker.focus();
                  },
                },
                icon("close"),
              ),
        ),
      ),
    );
  };
  const add = (more: Iterable<File>) => {
    if (busy) return;
    const all = [...files, ...more];
    files = all.slice(0, MOST);
    if (all.length > MOST) place.replaceChildren(notice("warn", t("tooManyFiles", { n: MOST })));
    else place.replaceChildren();
    refresh();
  };
  picker.addEventListener("change", () => {
    add(picker.files ?? []);
    picker.value = "";
  });
  for (const kind of ["dragover", "dragenter"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    add(event.dataTransfer?.files ?? []);
  });
  select.addEventListener("change", refresh);

  const show = (...content: HTMLElement[]) => place.replaceChildren(...content);

  /** Follows a job to its end. */
  const follow = async (jobId: string, documents: Json[], collectionId: string) => {
    const bar = el("progress", { class: "progress", max: 100, value: 0, "aria-label": t("reading") });
    const line = el("span", { class: "grow" }, t("reading"));
    const cancel = el("button", { type: "button", class: "button small" }, t("cancel"));
    let cancelled = false;
    cancel.addEventListener("click", () => {
      cancelled = true;
      cancel.disabled = true;
      withAccount((token) => call(`/kb/jobs/${jobId}/cancel`, { method: "POST", token, json: {} })).then(
        undefined,
        (fault: unknown) => {
          place.append(notice("danger", faultText(fault)));
        },
      );
    });
    show(el("div", { class: "row" }, line, cancel), bar);
    for (;;) {
      const job = await withAccount((token) => call(`/kb/jobs/${jobId}`, { token }));
      const status = asText(job["status"]) ?? "";
      const done = asNumber(job["documents_done"]) ?? 0;
      const total = asNumber(job["documents_total"]) ?? documents.length;
      const failed = asNumber(job["documents_failed"]) ?? 0;
      bar.value = asNumber(job["progress"]) ?? 0;
      line.textContent = status === "queued" ? t("queued") : t("readingCount", { done, total });
      if (status === "completed" || status === "failed" || status === "cancelled") {
        finish(status, { done, total, failed }, job, documents, collectionId, cancelled);
        return;
      }
      if (!open) return;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  };

  const finish = (
    status: string,
    counts: { done: number; total: number; failed: number },
    job: Json,
    documents: Json[],
    collectionId: string,
    cancelled: boolean,
  ) => {
    busy = false;
    const errors = asObjects(job["errors"]);
    const words = errors.slice(0, 8).map((error) => {
      const id = asText(error["document_id"]);
      const title = asText(error["name"]) ?? asText(documents.find((row) => row["id"] === id)?.["name"]) ?? "";
      const text =
        asText(error["message"]) ??
        asText(error["error_message"]) ??
        asText(error["code"]) ??
        asText(error["error_code"]) ??
        "";
      return el("li", {}, title === "" ? text : `${title}: ${text}`);
    });
    const bad = status === "failed" || counts.failed > 0 || errors.length > 0;
    if (status === "completed" && !bad) {
      files = [];
      show(notice("good", t("knowledgeDone", { n: counts.done })));
      refresh();
      return;
    }
    const again = el("button", { type: "button", class: "button small" }, icon("again"), t("tryAgain"));
    again.addEventListener("click", () => {
      busy = true;
      refresh();
      const failedIds = errors.flatMap((error) => asText(error["document_id"]) ?? []);
      const ids = failedIds.length > 0 ? failedIds : documents.flatMap((row) => asText(row["id"]) ?? []);
      const work = async () => {
        const answer = await withAccount((token) =>
          call(`/kb/collections/${encodeURIComponent(collectionId)}/reindex`, {
            method: "POST",
            token,
            json: { documents: ids, force: true },
          }),
        );
        await follow(asText(answer["job_id"]) ?? "", documents, collectionId);
      };
      work().then(undefined, stopped);
    });
    const head =
      status === "cancelled" || cancelled
        ? t("knowledgeCancelled", { n: counts.done })
        : t("knowledgeFailed", { failed: Math.max(counts.failed, errors.length), total: counts.total });
    const jobError = asText(asObject(job["error"])["message"]) ?? asText(job["error"]);
    show(
      notice(
        status === "cancelled" ? "warn" : "danger",
        el("p", {}, head),
        jobError === null ? null : el("p", {}, jobError),
        words.length > 0 ? el("ul", { class: "faults" }, ...words) : null,
        again,
      ),
    );
    refresh();
  };

  const stopped = (fault: unknown) => {
    busy = false;
    refresh();
    show(notice("danger", faultText(fault)));
  };

  const collection = async (): Promise<string> => {
    if (select.value !== NEW) return select.value;
    const wanted = name.input.value.trim();
    if (!/^[A-Za-z0-9][A-Za-z0-9 _.-]{0,99}$/.test(wanted)) {
      name.fault(t("collectionNameHint"));
      name.input.focus();
      throw new ApiFault(1, "VALIDATION_ERROR", t("collectionNameHint"), {});
    }
    const made = await withAccount((token) =>
      call("/kb/collections", {
        method: "POST",
        token,
        // In every conversation from now on: without it a new document would answer nobody.
        json: { bot_id: chat.state.bot?.id ?? chat.bot(), name: wanted, auto: true },
      }),
    );
    const id = asText(made["id"]) ?? "";
    select.append(el("option", { value: id }, wanted));
    select.value = id;
    refresh();
    return id;
  };

  const send = async () => {
    const id = await collection();
    const body = new FormData();
    for (const file of files) body.append("file", file, file.name);
    const bar = el("progress", { class: "progress", max: 1, value: 0, "aria-label": t("uploadingFiles") });
    const cancel = el("button", { type: "button", class: "button small" }, t("cancel"));
    const line = el("span", { class: "grow" }, t("uploadingFiles"));
    show(el("div", { class: "row" }, line, cancel), bar);
    // Long uploads outlive a token: it is asked for freshly, and the server checks it when the request begins.
    const sending = upload(
      `/kb/collections/${encodeURIComponent(id)}/documents`,
      body,
      await accessToken(),
      (share) => {
        bar.value = share;
      },
    );
    cancel.addEventListener("click", () => sending.abort());
    const answer = await sending.done;
    const jobId = asText(answer["job_id"]);
    const documents = asObjects(answer["documents"]);
    if (jobId === null) {
      busy = false;
      files = [];
      refresh();
      show(notice("good", t("knowledgeUnchanged")));
      return;
    }
    await follow(jobId, documents, id);
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (busy || files.length === 0) return;
    busy = true;
    refresh();
    send().then(undefined, stopped);
  });

  const load = async () => {
    const data = await withAccount((token) =>
      call("/kb/collections", { token, query: { bot_id: chat.state.bot?.id ?? chat.bot(), limit: 100 } }),
    );
    const options = asObjects(data["collections"]).map((row) =>
      el("option", { value: asText(row["id"]) ?? "" }, asText(row["name"]) ?? ""),
    );
    select.prepend(...options);
    if (options[0]) select.value = options[0].value;
    refresh();
  };
  refresh();
  load().then(undefined, stopped);
}
