// A table that may have any number of rows: only those in sight are drawn. All rows are equally high.

import { isolated, make } from "./words.js";

const MARGIN = 12; // rows drawn above and below what is in sight
const FEW = 200; // so many rows are all drawn: they can be printed, and found by the browser's own search

export const URGENCY = { stale: 0, failing: 1, pending: 2, up: 3 };

const moment = (value) => (value === null ? 0 : Date.parse(value));
const figure = (value) => (value === null ? -1 : value);

// How each column is compared and filled; every other one is text.
const SORTS = {
  state: (row) => URGENCY[row.state],
  last_success: (row) => moment(row.last_success),
  next_poll: (row) => moment(row.next_poll),
  last_error: (row) => (row.last_error ? `0${row.last_error.reason}${row.last_error.message}` : "1"),
};
const NUMBERS = new Set(["running", "queued", "held", "suspended", "other", "cpus", "gpus", "dcus"]);
// A first click shows what is worth looking at: the largest numbers, the worst states.
const DOWN_FIRST = new Set([...NUMBERS, "last_success"]);

export class List {
  constructor(section, name, columns, words, sort, events) {
    this.section = section;
    this.columns = columns;
    this.words = words;
    this.sort = sort;
    this.events = events;
    this.rows = [];
    this.drawn = new Map();
    this.table = section.querySelector("table");
    this.body = this.table.tBodies[0];
    this.above = make("tr", { class: "spacer", "aria-hidden": "true" }, make("td", { colspan: columns.length }));
    this.below = this.above.cloneNode(true);
    this.body.replaceChildren(this.above, this.below);
    this.empty = section.querySelector(".empty") ?? section.appendChild(make("p", { class: "empty" }));
    this.makeHead();
  }

  makeHead() {
    this.heads = new Map();
    [...this.table.tHead.rows[0].cells].forEach((cell, index) => {
      const column = this.columns[index];
      const button = make("button", { type: "button" }, cell.textContent);
      button.addEventListener("click", () => this.sortBy(column));
      cell.replaceChildren(button);
      this.heads.set(column, cell);
    });
    this.showSort();
  }

  sortBy(column, down = null) {
    const first = DOWN_FIRST.has(column);
    const again = this.sort.column === column;
    this.sort = { column, down: down ?? (again ? !this.sort.down : first) };
    this.showSort();
    this.events.sorted();
  }

  showSort() {
    for (const [column, cell] of this.heads) {
      if (column === this.sort.column) cell.setAttribute("aria-sort", this.sort.down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    }
  }

  // Show these rows, in the order that was chosen; `filtered` says that there are more.
  show(rows, filtered) {
    const { column, down } = this.sort;
    const value = SORTS[column] ?? (NUMBERS.has(column) ? (row) => figure(row[column]) : (row) => row[column]);
    const keyed = rows.map((row) => [value(row), row]);
    const order = typeof keyed[0]?.[0] === "string" ? this.words.compare : (a, b) => a - b;
    keyed.sort((a, b) => (down ? order(b[0], a[0]) : order(a[0], b[0])) || a[1].index - b[1].index);
    this.rows = keyed.map(([, row]) => row);
    this.table.setAttribute("aria-rowcount", this.rows.length + 1);
    this.table.hidden = this.rows.length === 0;
    this.empty.hidden = this.rows.length > 0;
    this.empty.textContent = this.words.say(filtered ? "nothing_matches" : "nothing_here");
    this.draw();
  }

  draw() {
    if (this.section.hidden || this.table.hidden) return;
    const height = parseFloat(getComputedStyle(this.section).getPropertyValue("--row"));
    const top = this.body.getBoundingClientRect().top;
    const count = this.rows.length;
    const few = count <= FEW;
    const first = few ? 0 : Math.min(count, Math.max(0, Math.floor(-top / height) - MARGIN));
    const last = few ? count : Math.max(first, Math.min(count, Math.ceil((innerHeight - top) / height) + MARGIN));
    const wanted = new Map(this.rows.slice(first, last).map((row) => [row.key, row]));
    for (const [key, line] of this.drawn) {
      if (!wanted.has(key)) {
        line.element.remove();
        this.drawn.delete(key);
      }
    }
    this.above.firstChild.style.height = `${first * height}px`;
    this.below.firstChild.style.height = `${(count - last) * height}px`;
    let next = this.above.nextSibling;
    let index = first + 2; // the head is row 1
    for (const [key, row] of wanted) {
      const element = this.line(key, row);
      element.setAttribute("aria-rowindex", index++);
      // What is in its place is not moved: it may have the focus.
      if (element === next) next = next.nextSibling;
      else this.body.insertBefore(element, next);
    }
  }

  line(key, row) {
    let line = this.drawn.get(key);
    if (line?.row === row) return line.element;
    if (!line) {
      const cells = this.columns.map((column) => {
        const kind = NUMBERS.has(column) ? `${column} number` : column;
        return make("td", { role: "cell", class: kind, "data-label": this.words.say(column) });
      });
      line = { element: make("tr", { role: "row" }, ...cells), cells };
      this.drawn.set(key, line);
    }
    line.row = row;
    line.element.className = row.state;
    this.columns.forEach((column, index) => this.fill(line.cells[index], column, row));
    return line.element;
  }

  fill(cell, column, row) {
    const value = row[column];
    if (NUMBERS.has(column)) {
      cell.textContent = this.words.number(value);
      cell.classList.toggle("zero", value === 0);
    } else if (column === "state") cell.replaceChildren(this.words.chip(value));
    else if (column === "endpoint") cell.textContent = this.words.say(`endpoint_${value}`);
    else if (column === "last_success") cell.replaceChildren(this.words.time(value, "never"));
    else if (column === "next_poll") cell.replaceChildren(this.words.time(value, "now", true));
    else if (column === "last_error") cell.replaceChildren(isolated(value ? this.words.reason(value) : ""));
    else if (column === "target") this.fillTarget(cell, row);
    else cell.replaceChildren(isolated(value));
  }

  fillTarget(cell, row) {
    const label = [row.source, row.target].filter(Boolean).join(" ");
    const button = cell.querySelector("button");
    if (button) {
      button.onclick = () => this.events.opened(row);
      return;
    }
    const made = make("button", { type: "button", class: "link" }, isolated(row.target || row.source));
    made.setAttribute("aria-label", this.words.say("details", null, { name: label }));
    made.onclick = () => this.events.opened(row);
    cell.replaceChildren(made);
  }
}
