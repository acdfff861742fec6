// Keeps the status page up to date from /api/v1/status, and lets people sort, filter and look closer.
// exporter/web/page.py makes the same elements for the state in which the page is loaded.

import { List, URGENCY } from "./list.js";
import { Words, isolated, make } from "./words.js";

const PAUSE = 5000; // milliseconds between two questions to the exporter
const PATIENCE = 15000; // milliseconds until one without an answer is given up

const VIEWS = {
  targets: ["state", "source", "endpoint", "target", "last_success", "next_poll", "last_error"],
  queues: ["source", "user", "queue", "running", "queued", "held", "suspended", "other"],
  members: ["source", "member", "running", "queued", "cpus", "gpus", "dcus"],
};
const FIRST_SORT = {
  targets: { column: "state", down: false },
  queues: { column: "running", down: true },
  members: { column: "running", down: true },
};

// How loud a region has to be: one whose data is all gone most, one with some trouble less.
function lookOf({ total, stale, failing, pending }) {
  if (stale + failing) return stale === total ? "stale" : "failing";
  return pending ? "pending" : "up";
}

const $ = (selector) => document.querySelector(selector);

class Page {
  constructor(words) {
    this.words = words;
    this.status = null;
    this.targets = [];
    this.rows = { targets: [], queues: [], members: [] };
    this.form = $("#lists form");
    this.cards = new Map();
    this.lists = {};
    const wanted = new URLSearchParams(location.hash.slice(1));
    this.view = wanted.get("view") in VIEWS ? wanted.get("view") : "targets";
    this.makeLists(wanted.get("sort") ?? "");
    this.makeTabs();
    this.makeDialog();
    this.listen();
  }

  makeLists(sort) {
    for (const [view, columns] of Object.entries(VIEWS)) {
      const column = sort.replace("-", "");
      const chosen = view === this.view && columns.includes(column) ? { column, down: sort.startsWith("-") } : FIRST_SORT[view];
      this.lists[view] = new List($(`#view-${view}`), view, columns, this.words, chosen, {
        sorted: () => this.show(),
        opened: (row) => this.open(row),
      });
    }
    document.querySelector(".pager")?.remove();
  }

  makeTabs() {
    this.tabs = {};
    const bar = make("div", { role: "tablist", "aria-label": this.words.say("lists") });
    for (const view of Object.keys(VIEWS)) {
      const count = make("span", { class: "count" });
      const tab = make("button", { type: "button", role: "tab", id: `tab-${view}`, "aria-controls": `view-${view}` }, this.words.say(view), count);
      tab.addEventListener("click", () => this.choose(view));
      tab.addEventListener("keydown", (event) => this.walkTabs(event, view));
      this.tabs[view] = { tab, count };
      bar.append(tab);
      const section = $(`#view-${view}`);
      section.setAttribute("role", "tabpanel");
      section.setAttribute("aria-labelledby", `tab-${view}`);
    }
    this.order = make("select", { id: "order" });
    this.order.addEventListener("change", () => {
      const [column, down] = this.order.value.split(" ");
      this.lists[this.view].sortBy(column, down === "down");
    });
    this.shown = make("p", { class: "shown", role: "status" });
    this.form.prepend(bar);
    this.form.append(make("label", { for: "order", class: "unseen" }, this.words.say("sort_by")), this.order, this.shown);
    $("#lists").setAttribute("aria-busy", "true");
    document.documentElement.classList.add("alive");
    this.choose(this.view);
  }

  walkTabs(event, view) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const names = Object.keys(VIEWS);
    const next = names[(names.indexOf(view) + step + names.length) % names.length];
    this.choose(next);
    this.tabs[next].tab.focus();
    event.preventDefault();
  }

  choose(view) {
    this.view = view;
    for (const [name, { tab }] of Object.entries(this.tabs)) {
      tab.setAttribute("aria-selected", name === view);
      tab.tabIndex = name === view ? 0 : -1;
      $(`#view-${name}`).hidden = name !== view;
    }
    this.show();
  }

  listen() {
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("input", (event) => event.target !== this.order && this.show());
    let asked = false;
    const redraw = () => {
      if (asked) return;
      asked = true;
      requestAnimationFrame(() => {
        asked = false;
        this.lists[this.view].draw();
      });
    };
    addEventListener("scroll", redraw, { passive: true });
    addEventListener("resize", redraw);
    // What is above the list can grow or shrink.
    new ResizeObserver(redraw).observe(document.body);
    document.addEventListener("visibilitychange", () => document.hidden || this.wake?.());
    setInterval(() => this.tick(), 1000);
  }

  // Ask for ever: all at first, then one page after the other.
  async run() {
    let offset = 0;
    for (;;) {
      try {
        const first = offset === 0;
        offset = await this.ask(offset);
        const whole = offset === 0 || this.targets.length >= this.status.page.total;
        if (first || whole) this.found();
        // The first time, and after the number of targets changed, there is no pause until all is there.
        if (!whole) continue;
      } catch (error) {
        this.lost(error);
        offset = 0;
      }
      await this.pause();
    }
  }

  // Returns the offset to ask for next.
  async ask(offset) {
    const answer = await fetch(`/api/v1/status?offset=${offset}`, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
    const status = await answer.json();
    this.words.skew = Date.parse(status.time) - Date.now();
    const { page } = status;
    const changed = this.status && this.status.page.total !== page.total;
    this.status = status;
    if (changed && offset !== 0) return 0;
    if (changed) this.targets = [];
    this.targets.splice(offset, status.targets.length, ...status.targets);
    if (page.next_offset === null) this.targets.length = offset + status.targets.length;
    return page.next_offset ?? 0;
  }

  pause() {
    return new Promise((resolve) => {
      this.wake = resolve;
      setTimeout(() => document.hidden || resolve(), PAUSE);
    });
  }

  found() {
    document.body.classList.remove("lost");
    this.makeRows();
    this.showWhole();
    this.show();
    if (this.targets.length >= this.status.page.total) $("#lists").removeAttribute("aria-busy");
  }

  lost() {
    document.body.classList.add("lost");
    const since = this.status ? this.words.since(this.status.time) : this.words.say("never");
    this.showVerdict("lost", this.words.say("lost"), this.words.say("lost_detail", null, { when: since }));
  }

  makeRows() {
    const rows = { targets: [], queues: [], members: [] };
    this.targets.forEach((target, index) => {
      const { state, source, endpoint, target: name, last_error: error } = target;
      const words = `${source} ${endpoint} ${name} ${error ? this.words.reason(error) : ""}`.toLowerCase();
      const key = `${source}\0${endpoint}\0${name}`;
      rows.targets.push({ ...target, key, index, words });
      for (const queue of target.queues ?? []) {
        rows.queues.push({ ...queue, state, source, user: name, key: `${key}\0${queue.queue}`, index, words: `${words} ${queue.queue.toLowerCase()}` });
      }
      if (target.tasks) {
        const unknown = { running: null, held: null, suspended: null, other: null };
        rows.queues.push({ ...unknown, queued: target.tasks.length, state, source, user: "", queue: name, key, index, words });
      }
      if (target.member) {
        rows.members.push({ ...target.member.jobs, ...target.member.in_use, state, source, member: name, key, index, words });
      }
    });
    this.rows = rows;
  }

  // The list that is looked at, filtered.
  show() {
    const filter = this.form.elements.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const states = this.form.elements.state.value.split(",").filter(Boolean);
    const source = this.form.elements.source.value;
    const matches = (row) =>
      (!source || row.source === source) &&
      (!states.length || states.includes(row.state)) &&
      filter.every((word) => row.words.includes(word));
    const all = this.rows[this.view];
    const rows = all.filter(matches);
    for (const [view, { count }] of Object.entries(this.tabs)) count.textContent = this.words.number(this.rows[view].length);
    const some = rows.length < all.length;
    this.shown.textContent = this.words.say(some ? "shown" : "all_shown", rows.length, { total: this.words.number(all.length) });
    this.showOrder();
    if (this.status) this.lists[this.view].show(rows, all.length > 0);
    this.remember();
  }

  showOrder() {
    const { columns, sort } = this.lists[this.view];
    const arrows = { down: "↓", up: "↑" };
    const options = columns.flatMap((column) =>
      Object.entries(arrows).map(([way, arrow]) => make("option", { value: `${column} ${way}` }, `${this.words.say(column)} ${arrow}`)),
    );
    const value = `${sort.column} ${sort.down ? "down" : "up"}`;
    if (this.order.dataset.view !== this.view) {
      this.order.replaceChildren(...options);
      this.order.dataset.view = this.view;
    }
    this.order.value = value;
  }

  // What was chosen goes into the address: for the next visit, for others, and into the other language.
  remember() {
    const { sort } = this.lists[this.view];
    const hash = `#view=${this.view}&sort=${sort.down ? "-" : ""}${sort.column}`;
    const query = new URLSearchParams();
    for (const name of ["filter", "state", "source"]) {
      if (this.form.elements[name].value) query.set(name, this.form.elements[name].value);
    }
    const lang = new URLSearchParams(location.search).get("lang");
    for (const link of document.querySelectorAll("#languages a")) {
      const other = new URLSearchParams(query);
      other.set("lang", link.lang);
      link.href = `?${other}${hash}`;
    }
    if (lang) query.set("lang", lang);
    const address = `${location.pathname}${query.size ? `?${query}` : ""}${hash}`;
    clearTimeout(this.remembering);
    this.remembering = setTimeout(() => history.replaceState(null, "", address), 200);
  }

  showWhole() {
    const { words, status } = this;
    const { summary, sources } = status;
    const problems = summary.stale + summary.failing;
    if (problems) {
      const names = sources.filter(({ state }) => state === "stale" || state === "failing").map(({ name }) => name);
      const more = names.length > 3 ? `, ${words.say("and_more", names.length - 3)}` : "";
      const headline = words.say("verdict_problem", problems, { total: words.number(summary.total) });
      const where = words.say("where", null, { names: names.slice(0, 3).join(", ") + more });
      const blind = sources.some(({ targets }) => lookOf(targets) === "stale");
      this.showVerdict(blind ? "stale" : "failing", headline, where);
    } else if (summary.pending) this.showVerdict("pending", words.say("verdict_pending", summary.pending), "");
    else if (!summary.total) {
      const why = status.shard.total > 1 ? "verdict_none_shard" : "verdict_none_detail";
      this.showVerdict("pending", words.say("verdict_none"), words.say(why));
    } else this.showVerdict("up", words.say("verdict_up", summary.total), "");
    this.showNotices();
    this.showSources();
  }

  showVerdict(state, headline, detail) {
    const section = $("#verdict");
    if (section.className !== state) section.className = state;
    // Said aloud when it changes, and only then.
    for (const [selector, text] of [[".headline", headline], [".detail", detail]]) {
      const element = section.querySelector(selector);
      if (element.textContent !== text) element.replaceChildren(isolated(text));
    }
    document.title = `${this.words.say("title")} – ${headline}`;
  }

  showNotices() {
    const { config } = this.status;
    const known = JSON.stringify([config.last_reload_successful, config.last_reload_error, config.warnings]);
    if (known === this.noticed) return;
    this.noticed = known;
    const notices = [];
    if (config.last_reload_successful === false) {
      notices.push(make("section", { class: "notice failing" }, make("h2", {}, this.words.say("reload_failed")), make("pre", {}, config.last_reload_error ?? "")));
    }
    if (config.warnings.length) {
      const items = config.warnings.map((warning) => make("li", {}, isolated(warning)));
      const title = this.words.say("warnings", config.warnings.length);
      notices.push(make("details", { class: "notice" }, make("summary", {}, title), make("ul", {}, ...items)));
    }
    $("#notices").replaceChildren(...notices);
  }

  showSources() {
    const cards = new Map();
    // Trouble first, else in the order of the configuration.
    const sources = this.status.sources.toSorted((a, b) => URGENCY[a.state] - URGENCY[b.state]);
    for (const source of sources) {
      const known = JSON.stringify(source);
      const before = this.cards.get(source.name);
      const focused = before?.element.contains(document.activeElement);
      const card = before?.known === known ? before : { known, element: this.card(source) };
      cards.set(source.name, { ...card, focused: focused && card !== before });
    }
    const elements = [...cards.values()].map(({ element }) => element);
    const box = $("#sources");
    elements.forEach((element, index) => {
      if (box.children[index] !== element) box.insertBefore(element, box.children[index] ?? null);
    });
    while (box.children.length > elements.length) box.lastChild.remove();
    for (const { element, focused } of cards.values()) if (focused) element.querySelector("button").focus();
    if (this.cards.size !== cards.size || [...cards.keys()].some((name) => !this.cards.has(name))) this.showSourceChoices();
    this.cards = cards;
  }

  showSourceChoices() {
    const choice = this.form.elements.source;
    const chosen = choice.value;
    const names = this.status.sources.map(({ name }) => name);
    const options = names.map((name) => make("option", { value: name }, name));
    choice.replaceChildren(make("option", { value: "" }, this.words.say("all_sources")), ...options);
    choice.value = names.includes(chosen) ? chosen : "";
  }

  card(source) {
    const { words } = this;
    const only = make("button", { type: "button", class: "link", title: words.say("only", null, { name: source.name }) }, isolated(source.name));
    only.addEventListener("click", () => {
      const choice = this.form.elements.source;
      choice.value = choice.value === source.name ? "" : source.name;
      this.show();
      $("#lists").scrollIntoView();
    });
    const parts = [];
    if (source.queues) parts.push(this.figures("jobs_in_queues", source.queues, ["running", "queued"]));
    if (source.members) {
      const numbers = { ...source.members.jobs, ...source.members.in_use };
      parts.push(this.figures("jobs_of_members", numbers, ["running", "queued", "cpus", "gpus", "dcus"]));
    }
    if (source.tasks) parts.push(this.figures("data_jobs", { queued: source.tasks.length }, ["queued"]));
    if (source.last_error) parts.push(make("p", { class: "error" }, isolated(words.reason(source.last_error))));
    const { targets } = source;
    const look = lookOf(targets);
    const problems = targets.stale + targets.failing;
    const some = problems > 0 && problems < targets.total;
    const chip = some ? make("span", { class: `chip ${look}` }, words.say("with_problem", problems)) : words.chip(source.state);
    const foot = make(
      "footer",
      {},
      make("span", {}, words.say("targets_up", targets.up, { total: words.number(targets.total) })),
      make("span", {}, `${words.say("last_success")}: `, words.time(source.last_success, "never")),
      ...source.tokens.slice(0, 1).map((token) => this.token(token)),
    );
    const head = make("header", {}, make("h3", {}, only), make("span", { class: "kind" }, words.say(source.kind)), chip);
    return make("article", { class: `card ${look}` }, head, ...parts, foot);
  }

  figures(title, numbers, names) {
    const { words } = this;
    const pairs = names.map((name) => make("div", {}, make("dt", {}, words.say(name)), make("dd", {}, words.number(numbers[name]))));
    return make("div", { class: "figures" }, make("h4", {}, words.say(title)), make("dl", {}, ...pairs));
  }

  token(token) {
    const expired = Date.parse(token.expires) <= this.words.now();
    const key = expired ? "token_expired" : token.user ? "token_expires_of" : "token_expires";
    const text = `${this.words.say(key, null, { user: token.user })}: `;
    return make("span", { class: expired ? "failing" : null }, isolated(text), this.words.time(token.expires, "never"));
  }

  makeDialog() {
    const close = make("button", { type: "button", class: "close" }, this.words.say("close"));
    close.addEventListener("click", () => this.dialog.close());
    this.dialogBody = make("div", {});
    this.dialog = make("dialog", { "aria-labelledby": "dialog-title" }, this.dialogBody, close);
    // A click beside it closes it.
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    document.body.append(this.dialog);
  }

  open(row) {
    const { words } = this;
    const facts = [
      ["state", words.say(`explain_${row.state}`)],
      ["source", isolated(row.source)],
      ["endpoint", words.say(`endpoint_${row.endpoint}`)],
      ["last_success", words.time(row.last_success, "never")],
      ["next_poll", words.time(row.next_poll, "now", true)],
      ["failures", words.number(row.consecutive_failures)],
      ["last_error", row.last_error ? isolated(words.reason(row.last_error)) : null],
    ];
    const pairs = facts
      .filter(([, value]) => value !== null)
      .flatMap(([name, value]) => [make("dt", {}, words.say(name)), make("dd", {}, value)]);
    this.dialogBody.replaceChildren(
      make("h2", { id: "dialog-title" }, isolated(row.target || row.source), " ", words.chip(row.state)),
      make("dl", {}, ...pairs),
    );
    this.dialog.showModal();
  }

  // Times go on between two answers.
  tick() {
    for (const element of document.querySelectorAll("time")) {
      const text = this.words.since(element.dateTime, "future" in element.dataset);
      if (element.textContent !== text) element.textContent = text;
    }
  }
}

const words = await Words.load(document.documentElement.lang);
await new Page(words).run();
