// The words of the page, and numbers and times as people read them. exporter/web/texts.py does the same.

const UNITS = [["d", 86400], ["h", 3600], ["min", 60]];

export class Words {
  constructor(texts, language) {
    this.texts = texts;
    this.numbers = new Intl.NumberFormat(language);
    // By the rules of the language, and user2 before user10.
    this.compare = new Intl.Collator(language, { numeric: true }).compare;
    // The exporter's clock minus ours, in milliseconds.
    this.skew = 0;
  }

  static async load(language) {
    const all = await (await fetch("/static/texts.json")).json();
    return new Words(all[language], language);
  }

  say(key, n = null, values = {}) {
    let text = (n === 1 && this.texts[`${key}_one`]) || this.texts[key];
    if (n !== null) text = text.replaceAll("{n}", this.number(n));
    for (const [name, value] of Object.entries(values)) text = text.replaceAll(`{${name}}`, value);
    return text;
  }

  number(value) {
    return value === null || value === undefined ? "–" : this.numbers.format(value);
  }

  now() {
    return Date.now() + this.skew;
  }

  head(column) {
    return this.texts[`head_${column}`] ?? this.say(column);
  }

  // How long ago a moment was, or how soon it will be. What is in the future and over is about to happen now.
  since(moment, future = false) {
    const seconds = (this.now() - Date.parse(moment)) / 1000;
    const amount = Math.abs(seconds);
    if (amount < 1 || (future && seconds > 0)) return this.say("now");
    const [unit, size] = UNITS.find(([, size]) => amount >= 2 * size) ?? ["s", 1];
    return this.say(`${seconds >= 0 ? "ago" : "in"}_${unit}`, Math.floor(amount / size));
  }

  time(moment, otherwise, future = false) {
    if (moment === null) return this.say(otherwise);
    const attributes = { datetime: moment, title: moment, "data-future": future ? "" : null };
    return make("time", attributes, this.since(moment, future));
  }

  reason(error) {
    return `${this.say(`reason_${error.reason}`)}: ${error.message}`;
  }

  chip(state) {
    return make("span", { class: `chip ${state}`, title: this.say(`explain_${state}`) }, this.say(`state_${state}`));
  }
}

// An element. Strings become text, never markup; null and undefined are left out.
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function isolated(text) {
  return make("bdi", {}, text);
}
