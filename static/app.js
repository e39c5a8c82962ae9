// What the pages do beyond HTML: times in the reader's zone, ticking durations and bars, quiet polling, copying.
// Everything here is an improvement only; reading and starting a run work without it.
(() => {
  "use strict";

  const serverNow = Date.parse(document.body.dataset.now || "");
  const skew = Number.isNaN(serverNow) ? 0 : serverNow - Date.now();
  const now = () => Date.now() + skew;

  // --- times ---
  const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
  const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });
  const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

  function ago(moment) {
    const seconds = Math.round((moment - now()) / 1000);
    const [unit, size] = UNITS.find(([, length]) => Math.abs(seconds) >= length) || UNITS[3];
    return relative.format(Math.trunc(seconds / size), unit);
  }

  function showTimes(root) {
    for (const element of root.querySelectorAll("time[datetime]")) {
      const moment = Date.parse(element.dateTime);
      if (Number.isNaN(moment)) continue;
      const words = exact.format(moment);
      if (element.title !== words) element.title = words;
      const kind = element.dataset.show;
      const text = kind === "clock" ? new Date(moment).toLocaleTimeString() : kind === "exact" ? words : ago(moment);
      if (element.textContent !== text) element.textContent = text;
    }
  }

  // --- durations that still grow (the server writes them the same way, see templatetags/pages.py) ---
  function duration(seconds) {
    if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
    if (seconds < 10) return `${seconds.toFixed(1)} s`;
    if (seconds < 60) return `${Math.floor(seconds)} s`;
    const minutes = Math.floor(seconds / 60);
    if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
    return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  }

  function tick() {
    for (const element of document.querySelectorAll("[data-since]")) {
      element.textContent = duration(Math.max(0, (now() - Date.parse(element.dataset.since)) / 1000));
    }
    for (const line of document.querySelectorAll("[data-timeline-start]")) grow(line);
  }

  function grow(timeline) {
    const total = Math.max(1, now() - Number(timeline.dataset.timelineStart));
    for (const svg of timeline.querySelectorAll("svg")) svg.setAttribute("viewBox", `0 0 ${total} 10`);
    for (const bar of timeline.querySelectorAll("rect[data-open]")) {
      bar.setAttribute("width", Math.max(1, total - Number(bar.getAttribute("x"))));
    }
    for (const label of timeline.querySelectorAll("[data-fraction]")) {
      label.textContent = duration((total * Number(label.dataset.fraction)) / 1000);
    }
  }

  // --- polling: only while the page can be seen ---
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden && event.target.matches("[data-poll]")) event.preventDefault();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    for (const element of document.querySelectorAll("[data-poll][hx-trigger]")) window.htmx.trigger(element, "refresh");
  });
  // Only our fragments carry an ETag: a login page that a signed-out poll was led to does not belong in here.
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.target.matches("[data-poll]") && !event.detail.xhr.getResponseHeader("ETag")) {
      event.detail.shouldSwap = false;
    }
  });
  const lost = document.getElementById("lost");
  const connected = (fine) => { if (lost) lost.hidden = fine; };
  document.addEventListener("htmx:sendError", () => connected(false));
  document.addEventListener("htmx:timeout", () => connected(false));
  document.addEventListener("htmx:afterRequest", (event) => { if (event.detail.xhr.status > 0) connected(true); });

  // --- a part that is replaced keeps what the reader had opened, and a player goes on playing ---
  const opened = new Map();
  document.addEventListener("htmx:oobBeforeSwap", (event) => {
    const { target, fragment } = event.detail;
    if ([...target.querySelectorAll("audio, video")].some((player) => !player.paused)) {
      event.detail.shouldSwap = fragment.querySelector("audio, video") === null;
    }
    for (const details of target.querySelectorAll("details[id]")) opened.set(details.id, details.open);
  });
  document.addEventListener("htmx:oobAfterSwap", (event) => {
    for (const details of event.detail.target.querySelectorAll("details[id]")) {
      if (opened.has(details.id)) details.open = opened.get(details.id);
    }
  });

  // A part that is replaced as a whole does the same.
  document.addEventListener("htmx:beforeSwap", (event) => {
    opened.clear();
    for (const details of event.detail.target.querySelectorAll("details[id]")) opened.set(details.id, details.open);
  });
  document.addEventListener("htmx:afterSwap", () => {
    for (const [id, open] of opened) {
      const details = document.getElementById(id);
      if (details) details.open = open;
    }
  });

  // --- copy ---
  function offerCopy(root) {
    if (!navigator.clipboard) return;
    for (const button of root.querySelectorAll("button[data-copy][hidden]")) button.hidden = false;
  }
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });

  // --- a choice in a filter applies itself ---
  document.addEventListener("change", (event) => {
    if (event.target.matches("form[data-apply] select")) event.target.form.requestSubmit();
  });

  // An address that is passed on says what is asked for, not what was left empty.
  document.addEventListener("formdata", (event) => {
    if (!event.target.matches("form[data-apply]")) return;
    for (const name of new Set(event.formData.keys())) {
      const given = event.formData.getAll(name).filter((value) => value !== "");
      event.formData.delete(name);
      for (const value of given) event.formData.append(name, value);
    }
  });

  // --- a link to a task opens it ---
  function openTarget() {
    const details = document.querySelector(":target > details");
    if (details) details.open = true;
  }
  window.addEventListener("hashchange", openTarget);

  function refresh() {
    showTimes(document);
    tick();
  }
  document.addEventListener("htmx:afterSettle", refresh);
  setInterval(tick, 500);
  setInterval(() => { if (!document.hidden) showTimes(document); }, 1000);
  offerCopy(document);
  openTarget();
  refresh();
})();
