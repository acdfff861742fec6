// Keeps the status page up to date: requests the page that is shown periodically, and changes in place whatever
// differs. Links and the form do the same with another address. All markup is made by the server.

const PAUSE = 5000; // milliseconds from an answer until the next request
const PATIENCE = 15000; // milliseconds until a request without an answer is aborted, at first
const MOST_PATIENCE = 120000; // the same where the exporter has been slow
const TYPING = 150; // milliseconds after a key until the filter applies

const $ = (selector) => document.querySelector(selector);
const keyOf = (node) => node.id || node.dataset?.key || null;

// Make `old` like `fresh`, and keep every element that is in both: with its focus, its details open, its text selected.
function morph(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  const wanted = new Set([...fresh.children].map(keyOf));
  const known = new Map();
  for (const child of [...old.children]) {
    const key = keyOf(child);
    if (!wanted.has(key)) child.remove();
    else if (key) known.set(key, child);
  }
  let next = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const key = keyOf(child);
    const alike = next && !keyOf(next) && next.nodeName === child.nodeName ? next : null;
    const match = key ? known.get(key) : alike;
    if (match && match === next) next = next.nextSibling;
    else old.insertBefore(match ?? child, next);
    if (match) morph(match, child);
  }
  while (next) {
    const gone = next;
    next = next.nextSibling;
    gone.remove();
  }
}

function show(fresh) {
  const focused = document.activeElement;
  document.title = fresh.title;
  morph(document.body, fresh.body);
  // An element that was moved lost it.
  if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
}

let asking = null;
let timer = 0;
let patience = PATIENCE;

// Show the page at the address of the window. It supersedes an earlier request.
async function load() {
  clearTimeout(timer);
  asking?.abort();
  const mine = new AbortController();
  asking = mine;
  const limit = setTimeout(() => {
    patience = Math.min(2 * patience, MOST_PATIENCE);
    mine.abort();
  }, patience);
  const started = performance.now();
  let pause = PAUSE;
  try {
    const answer = await fetch(location.href, { cache: "no-store", signal: mine.signal });
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!answer.ok || !fresh.getElementById("verdict")) throw new Error(answer.statusText);
    if (asking === mine) show(fresh);
    const took = performance.now() - started;
    patience = Math.min(Math.max(2 * took, PATIENCE), MOST_PATIENCE);
    // A large page is requested less often: it costs the exporter more.
    pause = Math.max(PAUSE, 20 * took);
  } catch {
    if (asking === mine) lost();
  }
  clearTimeout(limit);
  if (asking === mine) timer = setTimeout(again, pause);
}

function again() {
  if (document.hidden) timer = setTimeout(again, PAUSE);
  else load();
}

function lost() {
  document.body.classList.add("lost");
  $("#lost").hidden = false;
  document.title = `${document.title.split(" – ")[0]} – ${$("#lost .headline").textContent}`;
}

let typed = 0;
let settled = Promise.resolve();

// Set the fields to the address, unless something is typed before the answer arrives.
async function settle() {
  const before = typed;
  await load();
  if (typed === before) $("#lists form")?.reset();
}

async function follow(address) {
  history.pushState(null, "", address);
  settled = settle();
  await settled;
  if (location.hash) $(location.hash)?.scrollIntoView();
}

async function choose() {
  // Until then the form has the previous list and order.
  await settled;
  const chosen = new URLSearchParams([...new FormData($("#lists form"))].filter(([, value]) => value));
  history.replaceState(null, "", `?${chosen}`);
  load();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="?"]:not([lang])');
  if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  follow(link.getAttribute("href"));
});
document.addEventListener("submit", (event) => {
  event.preventDefault();
  choose();
});
document.addEventListener("input", () => {
  typed += 1;
  clearTimeout(timer);
  timer = setTimeout(choose, TYPING);
});
document.addEventListener("visibilitychange", () => document.hidden || load());
addEventListener("popstate", () => {
  settled = settle();
});
// Details float above the list; Escape closes them.
document.addEventListener("keydown", (event) => {
  const open = event.key === "Escape" && $("td details[open]");
  if (open) open.open = false;
});

document.documentElement.classList.add("alive");
timer = setTimeout(again, PAUSE);
