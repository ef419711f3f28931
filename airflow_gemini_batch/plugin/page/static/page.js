// What the server renders works without this file, but for what is opened. It keeps the page up to date by asking for the sections
// that have changed, moves through the board by keyboard, and opens shards and rows.

const POLL_MS = 3000;
const SLOWEST_MS = 60000;

const $ = (selector, within = document) => within.querySelector(selector);
const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];

/** HTML of our own server, in which every value is escaped; the content policy lets no script of it run. */
function put(element, html) {
  const parsed = new DOMParser().parseFromString(html, "text/html");
  element.replaceChildren(...parsed.body.childNodes);
  tick();
}

async function ask(address) {
  const answer = await fetch(address, { credentials: "same-origin", headers: { Accept: "application/json" } });
  if (!answer.ok) {
    const { detail } = await answer.json().catch(() => ({}));
    throw Object.assign(new Error(typeof detail === "string" ? detail : `HTTP ${answer.status}`), { status: answer.status });
  }
  return answer.json();
}

// ---- Times: the server writes moments, the reader sees ages and their own clock.

function duration(seconds) {
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return hours % 24 ? `${Math.floor(hours / 24)} d ${hours % 24} h` : `${Math.floor(hours / 24)} d`;
}

const clock = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

function tick() {
  for (const time of $$("time")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.valueOf())) continue;
    if (!time.title) time.title = `${clock.format(at)} here, ${time.textContent}`;
    if ("since" in time.dataset) time.textContent = duration((Date.now() - at) / 1000);
  }
}

// ---- The sections that change.

let wait = POLL_MS;

function refresh(section, html, digest) {
  const open = new Map($$("details[open]", section).map((each) => [each.id, $(".rows", each)]));
  const focused = section.contains(document.activeElement) ? document.activeElement : null;
  const [id, opens] = [focused?.id || focused?.closest("details[id]")?.id, focused?.dataset?.open];
  const scrolled = $$(".scroll, .cells", section).map((each) => [each.scrollLeft, each.scrollTop]);
  section.dataset.digest = digest;
  put(section, html);
  for (const [name, rows] of open) {
    const details = document.getElementById(name);
    if (!details) continue;
    if (rows && $(".rows", details)) {
      $(".rows", details).replaceWith(rows);
      details.dataset.loaded = "true";
    }
    details.open = true;
  }
  $$(".scroll, .cells", section).forEach((each, index) => {
    if (scrolled[index]) [each.scrollLeft, each.scrollTop] = scrolled[index];
  });
  const target = (id && document.getElementById(id)) || (opens && $(`[data-open="${CSS.escape(opens)}"]`, section));
  if (target?.classList.contains("c")) reachable(target);
  (target?.matches("details") ? $("summary", target) : target)?.focus({ preventScroll: true });
}

async function poll() {
  if (document.hidden) return; // visibilitychange goes on
  const have = $$("[data-digest]").map((section) => section.dataset.digest);
  const lost = $("#lost");
  try {
    const news = await ask(`${document.body.dataset.poll}&have=${have.join(",")}`);
    for (const [name, part] of Object.entries(news.sections)) refresh($(`[data-section="${name}"]`), part.html, part.digest);
    if (Object.keys(news.sections).length && $("#results .where")) loadRows($("#results"));
    lost.hidden = true;
    wait = POLL_MS;
    if (!news.live) return;
  } catch (error) {
    lost.textContent = `Not up to date: ${error.message}`;
    lost.hidden = false;
    if ([401, 403, 404].includes(error.status)) return;
    wait = Math.min(2 * wait, SLOWEST_MS);
  }
  schedule();
}

let timer;
function schedule(delay = wait) {
  clearTimeout(timer);
  timer = setTimeout(poll, delay);
}

// ---- Rows and shards, opened on demand.

async function loadRows(element) {
  const target = element.matches("details") ? $(".rows", element) : element;
  element.dataset.loaded = "true";
  try {
    put(target, (await ask(element.dataset.rows)).html);
  } catch (error) {
    delete element.dataset.loaded;
    target.textContent = error.message;
  }
}

let openedFrom = null;

async function openShard(name, from) {
  const panel = $("#shard");
  openedFrom = from.id ? `#${CSS.escape(from.id)}` : `[data-open="${CSS.escape(name)}"]`;
  const address = document.body.dataset.poll.replace("run.json?", "shard.json?");
  try {
    put(panel, (await ask(`${address}&shard=${encodeURIComponent(name)}`)).html);
  } catch (error) {
    panel.textContent = error.message;
  }
  panel.hidden = false;
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  panel.scrollIntoView({ block: "nearest", behavior: still ? "auto" : "smooth" });
  $("#shard-title")?.focus({ preventScroll: true });
}

function closeShard() {
  if ($("#shard")?.hidden !== false) return;
  $("#shard").hidden = true;
  if (openedFrom) $(openedFrom)?.focus();
}

// ---- The board by keyboard: one stop for Tab, arrows move.

function reachable(cell) {
  for (const each of $$('.c[tabindex="0"]')) each.tabIndex = -1;
  cell.tabIndex = 0;
}

function move(cell, key) {
  const cells = $$(".c", cell.parentElement);
  const index = cells.indexOf(cell);
  const columns = Math.max(1, cells.findIndex((each) => each.offsetTop !== cells[0].offsetTop));
  const across = cells.at(-1).offsetTop === cells[0].offsetTop ? cells.length : columns;
  const target = { ArrowRight: index + 1, ArrowLeft: index - 1, ArrowDown: index + across, ArrowUp: index - across, Home: 0, End: cells.length - 1 }[key];
  if (target === undefined) return false;
  if (cells[target]) {
    reachable(cells[target]);
    cells[target].focus();
  }
  return true;
}

function describe(cell) {
  const text = $("#cell-text");
  if (text) text.textContent = cell ? cell.getAttribute("aria-label") : text.dataset.hint;
}

// ---- Links out of the frame. Airflow's sandbox lets a frame neither leave itself nor open a window, so the page around it does both.

function leave(link, event) {
  if (window.parent === window) return;
  try {
    const outer = window.parent.document.createElement("a");
    outer.href = link.href;
    if (link.origin !== window.location.origin || event.ctrlKey || event.metaKey || event.shiftKey) {
      outer.target = "_blank";
      outer.rel = "noopener noreferrer";
    }
    event.preventDefault();
    window.parent.document.body.append(outer);
    outer.click();
    outer.remove();
  } catch {
    // Framed by another origin: the browser follows the link here.
  }
}

async function copy(button) {
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(button.previousElementSibling);
    button.textContent = "Selected";
  }
}

document.addEventListener("click", (event) => {
  const found = event.target.closest(".c, [data-open], [data-close], [data-copy], a[data-out]");
  if (!found) return;
  if (found.matches(".c")) {
    reachable(found);
    openShard(found.id.slice(1), found);
  } else if (found.matches("[data-open]")) openShard(found.dataset.open, found);
  else if (found.matches("[data-close]")) closeShard();
  else if (found.matches("[data-copy]")) copy(found);
  else leave(found, event);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") closeShard();
  else if (event.target.matches?.(".c") && !event.ctrlKey && !event.metaKey && !event.altKey && move(event.target, event.key)) event.preventDefault();
});
document.addEventListener("pointerover", (event) => event.target.matches?.(".c") && describe(event.target));
document.addEventListener("pointerout", (event) => event.target.matches?.(".c") && describe(null));
document.addEventListener("focusin", (event) => event.target.matches?.(".c") && describe(event.target));
document.addEventListener("toggle", (event) => event.target.open && event.target.dataset.rows && !event.target.dataset.loaded && loadRows(event.target), true);
document.addEventListener("change", (event) => event.target.matches?.("[data-submit]") && event.target.form.requestSubmit());
document.addEventListener("visibilitychange", () => !document.hidden && document.body.dataset.live === "true" && schedule(0));

tick();
setInterval(tick, 1000);
if ($("#results")) loadRows($("#results"));
if (document.body.dataset.live === "true") schedule();
