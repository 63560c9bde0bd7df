// Shows news of rollouts as they come. Without it, the pages are the same after a reload.
"use strict";

const live = document.getElementById("live");
const connection = document.getElementById("connection");
const announce = document.getElementById("announce");
let stream = null;
let again = 0;
let loading = false;
let wanted = false;

function tell(words, lost) {
  connection.hidden = false;
  connection.classList.toggle("lost", lost);
  if (connection.textContent !== words) connection.textContent = words;
}

function openDetails(root) {
  return Array.from(root.querySelectorAll("details"), (details) => details.open);
}

function sentence() {
  return document.getElementById("sentence")?.textContent ?? "";
}

function show(html) {
  const page = new DOMParser().parseFromString(html, "text/html");
  const fresh = page.getElementById("live");
  if (!fresh) return;
  const open = openDetails(live);
  fresh.querySelectorAll("details").forEach((details, index) => {
    details.open = open[index] ?? false;
  });
  const before = sentence();
  const focused = live.contains(document.activeElement)
    ? document.activeElement.getAttribute("href") : null;
  live.replaceChildren(...fresh.childNodes);
  if (focused) live.querySelector(`[href="${CSS.escape(focused)}"]`)?.focus();
  document.title = page.title;
  if (announce && sentence() !== before) announce.textContent = sentence();
}

async function refresh() {
  wanted = true;
  if (loading) return;
  loading = true;
  try {
    while (wanted) {
      wanted = false;
      const answer = await fetch(location.href, { credentials: "same-origin" });
      if (answer.ok) show(await answer.text());
    }
  } catch {
    // The stream notices a lost connection too, and says so.
  } finally {
    loading = false;
  }
}

function follow() {
  clearTimeout(again);
  if (stream || document.hidden) return;
  stream = new EventSource(live.dataset.stream);
  stream.addEventListener("open", () => {
    tell("● Live", false);
    refresh();
  });
  stream.addEventListener("change", refresh);
  stream.addEventListener("error", () => {
    tell("○ Connection lost, trying again …", true);
    // The browser reconnects by itself, unless it was refused.
    if (stream.readyState !== EventSource.CLOSED) return;
    rest();
    again = setTimeout(follow, 15000);
  });
}

function rest() {
  stream?.close();
  stream = null;
}

// Browsers open few connections to one host; a tab that nobody sees needs none.
document.addEventListener("visibilitychange", () => (document.hidden ? rest() : follow()));
addEventListener("pagehide", rest);
addEventListener("pageshow", follow);
follow();
