// What one does with a student in a tab: search, choose, see what comes next and which choices moved it.
import * as ort from "./ort.wasm.bundle.min.mjs";

const SHOWN = 10, MATCHES = 8, REASONS = 2;
const at = (id) => document.getElementById(id);
const picks = [];
let session, catalogue, plain, asked = 0;

const bytes = async (name) => {
  const answer = await fetch(name);
  if (!answer.ok) throw new Error(`${name}: ${answer.status}`);
  return new Uint8Array(await answer.arrayBuffer());
};
const kib = (size) => (size < 2 ** 20 ? `${Math.round(size / 1024)} KiB` : `${(size / 2 ** 20).toFixed(1)} MiB`);
const folded = (text) => text.toLowerCase().normalize("NFD").replace(/\p{M}/gu, "");

async function load() {
  const [model, runtime, told] = await Promise.all([
    bytes("student.onnx"), bytes("ort-wasm-simd-threaded.wasm"), bytes("catalogue.json"),
  ]);
  catalogue = JSON.parse(new TextDecoder().decode(told));
  plain = catalogue.titles.map(folded);
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = runtime;
  session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
  document.title = `Recommendations: ${catalogue.name}`;
  at("name").textContent = catalogue.name;
  fact("Student", kib(model.length));
  fact("Catalogue", `${catalogue.titles.length.toLocaleString("en")} items, ${kib(told.length)}`);
  fact("Runtime", kib(runtime.length));
  fact("One recommendation", "", "time");
  at("search").disabled = false;
  await run([[]]); // the first run is slower than all others
  await show();
}

function fact(name, value, id) {
  const part = document.createElement("div"), term = document.createElement("dt"), told = document.createElement("dd");
  term.textContent = name;
  told.textContent = value;
  if (id) told.id = id;
  part.append(term, told);
  at("facts").append(part);
}

/** Histories of places -> items (n, k) and their scores, and every item's score (n, N). */
async function run(histories) {
  const width = Math.max(1, ...histories.map((each) => each.length));
  const places = new BigInt64Array(histories.length * width).fill(-1n);
  histories.forEach((each, row) => each.forEach((item, place) => { places[row * width + place] = BigInt(item); }));
  const given = { history: new ort.Tensor("int64", places, [histories.length, width]) };
  return session.run(given, histories.length > 1 ? ["every"] : ["items", "scores", "every"]);
}

/** The best items after a history: what the page shows, and what its tests ask. */
export async function recommend(history) {
  const begin = performance.now(), answer = await run([history]);
  const items = Array.from(answer.items.data, Number), scores = Array.from(answer.scores.data);
  const kept = items.map((item, n) => ({ item, score: scores[n] })).filter((each) => Number.isFinite(each.score));
  return { items: kept, every: answer.every.data, milliseconds: performance.now() - begin };
}

/** Which choices moved each item most: its score with all of them, less the score without one. */
async function reasons(items, every) {
  if (picks.length === 0) return items.map(() => []);
  const without = await run(picks.map((_, left) => picks.filter((_, place) => place !== left)));
  const scores = picks.length > 1 ? without.every.data : (await run([[], []])).every.data;
  const size = catalogue.titles.length;
  return items.map(({ item }) => picks
    .map((pick, row) => ({ pick, moved: every[item] - scores[row * size + item] }))
    .filter((each) => each.moved > 0.005)
    .sort((a, b) => b.moved - a.moved)
    .slice(0, REASONS));
}

async function show() {
  const mine = ++asked, found = await recommend(picks), items = found.items.slice(0, SHOWN);
  const why = await reasons(items, found.every);
  if (mine !== asked) return; // another click came meanwhile
  at("time").textContent = `${found.milliseconds.toFixed(1)} ms`;
  at("status").textContent = picks.length
    ? `After ${picks.length} of your choices.` : "Nothing is known of you yet.";
  at("list").replaceChildren(...items.map(({ item }, n) => line(item, "Choose", () => choose(item), why[n])));
  at("picks").replaceChildren(...picks.map((item) => line(item, "Remove", () => leave(item))));
  at("none").hidden = picks.length > 0;
  at("clear").hidden = picks.length === 0;
}

function line(item, act, does, why) {
  const row = document.createElement("li"), text = document.createElement("div"), button = document.createElement("button");
  text.append(catalogue.titles[item]);
  row.dataset.item = catalogue.items[item];
  if (why && why.length) {
    const told = document.createElement("span");
    told.className = "why";
    told.textContent = "because of " + why.map((each) => `${catalogue.titles[each.pick]} (+${each.moved.toFixed(2)})`).join(", ");
    text.append(told);
  }
  button.type = "button";
  button.textContent = act;
  button.setAttribute("aria-label", `${act} ${catalogue.titles[item]}`);
  button.addEventListener("click", does);
  row.append(text, button);
  return row;
}

async function choose(item) {
  if (!picks.includes(item)) picks.push(item);
  await show();
  search();
}

async function leave(item) {
  if (!picks.includes(item)) return; // clicked twice
  picks.splice(picks.indexOf(item), 1);
  await show();
  at("picks-title").focus(); // the button that had the focus is gone
}

function search() {
  const sought = folded(at("search").value.trim()), found = [];
  for (let item = 0; sought && item < plain.length; item++) {
    const place = plain[item].indexOf(sought);
    if (place >= 0 && !picks.includes(item)) found.push({ item, place });
  }
  found.sort((a, b) => a.place - b.place || plain[a.item].length - plain[b.item].length);
  at("results").replaceChildren(...found.slice(0, MATCHES).map(({ item }) => line(item, "Choose", () => choose(item))));
  at("matches").textContent = !sought ? ""
    : found.length > MATCHES ? `${MATCHES} of ${found.length} titles` : `${found.length} titles`;
}

at("search").addEventListener("input", search);
at("clear").addEventListener("click", async () => { picks.length = 0; await show(); at("search").focus(); });
load().catch((error) => { at("status").textContent = `This can't be shown: ${error.message}`; });
