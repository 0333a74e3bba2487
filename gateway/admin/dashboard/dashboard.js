// SPDX-License-Identifier: Apache-2.0
// The dashboard: every two seconds /admin/stats, and /admin/calls, /admin/alerts or /admin/tools where a view shows them. Nothing
// else is asked for but what a button says. All text goes into the page as text, never as markup.
"use strict";
const main = document.querySelector("main"), state = document.querySelector("#state");
let stats = null, calls = [], inFlight = 0, alerts = null, lists = [], tiers = null, before = null, opened = "", mates = [], bench = null, shown = "", body = null;
const filter = { tool: "", tenant: "", outcome: "" }, search = { text: "", by: "calls" }, order = { by: "began" };

function el(tag, attributes = {}, ...inner) {
  const node = document.createElementNS(["svg", "path", "title"].includes(tag) ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml", tag);
  for (const [name, value] of Object.entries(attributes))
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  node.append(...inner.filter((part) => part !== null && part !== undefined));
  return node;
}
const number = (n) => n === null || n === undefined ? "–" : n >= 1e6 ? (n / 1e6).toFixed(1) + " M" : n >= 1e4 ? (n / 1e3).toFixed(1) + " k" : n >= 100 || Number.isInteger(n) ? Math.round(n).toString() : n.toFixed(n < 10 ? 2 : 1);
const time = (us) => us === null || us === undefined ? "–" : us < 1000 ? us + " µs" : us < 1e6 ? (us / 1e3).toFixed(us < 1e4 ? 1 : 0) + " ms" : us < 6e8 ? (us / 1e6).toFixed(1) + " s" : span(us / 1e6);
const bytes = (n) => n < 1024 ? n + " B" : n < 1 << 20 ? (n / 1024).toFixed(0) + " KiB" : n < 1 << 30 ? (n / (1 << 20)).toFixed(1) + " MiB" : (n / (1 << 30)).toFixed(1) + " GiB";
const percent = (ratio) => ratio === null || ratio === undefined ? "–" : (100 * ratio).toFixed(ratio && ratio < .1 ? 1 : 0) + " %";
const span = (s) => s < 60 ? Math.round(s) + " s" : s < 3600 ? Math.round(s / 60) + " min" : s < 172800 ? (s / 3600).toFixed(1) + " h" : Math.round(s / 86400) + " d";
const clock = (at) => new Date(at * 1000).toLocaleTimeString([], { hour12: false });

// On a phone a row is a block, and each figure has its head before it.
function table(caption, heads, rows, empty) {
  if (!rows.length) return el("p", { class: "dim" }, empty);
  for (const one of rows) [...one.children].forEach((cell, i) => { cell.dataset.head = heads[i]; if (cell.matches("th, .text:not(.long, .state)") && cell.textContent.length > 24) cell.title ||= cell.textContent; });
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    el("table", { class: "stack" }, el("caption", {}, caption),
      el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", { scope: "col", class: head.startsWith("<") ? "text" : "" }, head.replace("<", ""))))),
      el("tbody", {}, ...rows)));
}
const row = (cells, attributes = {}) => el("tr", attributes, ...cells.map((cell, i) =>
  cell instanceof HTMLTableCellElement ? cell : el(i ? "td" : "th", i ? {} : { scope: "row" }, cell)));
const text = (...inner) => el("td", { class: "text" }, ...inner);

function spark(label, values, extra) {
  const top = Math.max(1e-9, ...values.map((v) => v || 0), ...(extra || []).map((v) => v || 0));
  const line = (list) => list.map((v, i) => `${i ? "L" : "M"}${(100 * i / Math.max(1, list.length - 1)).toFixed(1)} ${(29 - 28 * (v || 0) / top).toFixed(1)}`).join("");
  return el("svg", { viewBox: "0 0 100 30", preserveAspectRatio: "none", role: "img", "aria-label": label }, el("title", {}, label),
    values.length > 1 ? el("path", { d: line(values) }) : null, extra && extra.length > 1 ? el("path", { d: line(extra), class: "errors" }) : null);
}
const tile = (what, value, kind, drawing) => el("div", { class: "tile" }, el("span", {}, what), el("b", { class: kind || "" }, value.replace(/ (?=\S+$)/, "\u00a0")), drawing || null);

const worst = (list) => [...list].sort((a, b) => (b.severity === "critical") - (a.severity === "critical"));
// Who is sick, and by which sign, the gateway says (gateway/admin/condition.c).
const kinds = { sick: "bad", worrying: "warn", well: "good" }, rank = { sick: 0, worrying: 1, well: 2 };
const bySickness = (list) => [...list].sort((a, b) => rank[a.condition] - rank[b.condition] || a.name.localeCompare(b.name));
// With what the last caller was told whose call failed there, if asked for.
const sign = (u, last) => el("td", { class: "text state" }, el("span", { class: kinds[u.condition] }, u.sign), u.since ? ` for ${span(Math.max(0, stats.at - u.since))}` : null, u.why ? el("small", {}, u.why) : null,
  last && u.last_error && !u.last_error.detail.endsWith(u.why || " ") ? el("small", {}, `${span(Math.max(0, stats.at - u.last_error.at))} ago: ${u.last_error.detail}`) : null);
// What came between two looks, a second.
const rate = (u, what) => {
  const past = before && before.upstreams.find((p) => p.name === u.name);
  return past ? Math.max(0, (u[what] - past[what]) / (stats.at - before.at)) : null;
};

function firing() {
  const shown = worst(stats.alerts).slice(0, 5), more = stats.alerts.length - shown.length;
  return shown.length ? el("ul", { class: "alerts", "aria-label": "alerts that fire" }, ...shown.map((a) => el("li", {}, el("a", { href: "#alerts", class: a.severity === "critical" ? "bad" : "warn" }, a.alert),
    `${[a.upstream, a.subject].filter(Boolean).map((w) => " " + w).join("")}: ${a.detail} (${span(Math.max(0, stats.at - a.since))})`)), more ? el("li", {}, el("a", { href: "#alerts" }, `and ${more} more`)) : null) : null;
}

async function change(question, method, path, button) {
  if (!confirm(question)) return;
  button.disabled = true;
  const reply = await fetch(path, { method, headers: { "Content-Type": "application/json" }, body: "{}" });
  const answer = await reply.json().catch(() => ({}));
  alert(!reply.ok ? `${reply.status}: ${answer.detail || reply.statusText}` : answer.purged === undefined ? Object.entries(answer).map((e) => e.join(" ")).join(", ")
    : `Dropped: ${answer.purged} from memory${answer.memory ? ", and it goes on" : ""}${answer.disk ? `, ${answer.disk.purged} from the disk (${answer.disk.status})` : ""}${answer.fleet ? `; the fleet: ${answer.fleet}` : ""}.`);
  button.disabled = false;
  refresh();
}

const views = {
  overview() {
    const now = stats.rates["10s"], busy = Math.max(...stats.workers.map((w) => w.busy_ratio)), lag = Math.max(...stats.workers.map((w) => w.lag_us));
    const slowest = stats.upstreams.reduce((most, u) => u.p99_us > (most ? most.p99_us : 0) ? u : most, null);
    const ill = bySickness(stats.upstreams.filter((u) => u.condition !== "well")), all = stats.upstreams.length, grave = ill.length && ill[0].condition === "sick";
    return [
      el("p", { class: "headline " + (grave ? "bad" : ill.length ? "warn" : all ? "good" : "dim") },
        !all ? "There is no upstream yet." : !ill.length ? (all > 2 ? `All ${all} upstreams are well.` : all > 1 ? "Both upstreams are well." : "The upstream is well.") : `${ill.length} of ${all} upstreams ${ill.length > 1 ? "need" : "needs"} a look`),
      ill.length ? table("Who is sick, and why", ["<upstream", "<what is wrong", "requests a second", "in flight", "waiting", "p50", "p99"], ill.map((u) => row([
        el("th", { scope: "row" }, el("a", { href: "#upstreams" }, u.name)), sign(u), number(rate(u, "requests")), `${number(u.in_flight)} of ${number(u.limit)}`, number(u.waiting), time(u.p50_us), time(u.p99_us)],
        { class: u.condition === "sick" ? "sick" : "" })), "") : null,
      ...stats.cache.filter((t) => t.status !== "up").map((t) => el("p", { class: "bad" }, `The cache's tier ${t.tier} is ${t.status}: `, el("a", { href: "#cache" }, "cache"))), firing(),
      el("div", { class: "tiles" },
        tile("calls a second", number(now.calls), "", spark("calls a second over five minutes; errors in red", stats.series.calls, stats.series.errors)),
        tile("p99, ten seconds", time(now.p99_us), now.p99_us > 1e6 ? "warn" : "", spark("p99 over five minutes", stats.series.p99_us)),
        tile("slowest upstream, p99", slowest ? `${slowest.name} ${time(slowest.p99_us)}` : "–"), tile("p50", time(now.p50_us)), tile("errors", percent(now.error_ratio), now.error_ratio > .01 ? "bad" : ""),
        tile("from memory", percent(now.hit_ratio)), tile("calls a request", number(now.mean_batch)),
        tile("requests saved a second", number(now.saved_requests)), tile("in flight", number(stats.totals.in_flight)),
        tile("busiest worker", percent(busy), busy > .9 ? "bad" : ""), tile("longest turn", time(lag), lag > 1e5 ? "warn" : ""),
        tile("memory", bytes(stats.process.rss_bytes)), tile("connections", number(stats.totals.connections))),
      el("p", { class: "dim" }, `jitney ${stats.version}, `, el("a", { href: "admin/config" }, `configuration ${stats.generation}`), `, loaded ${span(Math.max(0, stats.at - stats.loaded_at))} ago (${stats.asked_by}), up for ${span(stats.uptime_s)}, ${stats.workers.length} ${stats.workers.length > 1 ? "workers" : "worker"}, ${stats.tools.length} ${stats.tools.length === 1 ? "tool" : "tools"}.`)];
  },
  upstreams() {
    const isWell = (e) => e.state === "up" && e.healthy, all = bySickness(stats.upstreams).flatMap((u) => (u.endpoints || []).map((e, i) => [u, e, i])).sort((a, b) => isWell(a[1]) - isWell(b[1]));
    const ends = all.map(([u, e, i]) => row([text(u.name), el("td", { class: "text long" }, e.url),
      text(el("span", { class: isWell(e) ? "good" : "bad" }, e.state === "up" && !e.healthy ? "not reached" : e.state)),
      number(e.requests), String(e.weight), el("td", { class: "text long" }, e.reason || ""),
      el("td", {}, u.dialect === "mcp-stdio" ? "" : el("button", { onclick: (event) => change(`${e.state === "draining" ? "Take back" : "Drain"} ${e.url}?`, "POST", `admin/endpoints/${encodeURIComponent(u.name)}/${i}/${e.state === "draining" ? "undrain" : "drain"}`, event.target) }, e.state === "draining" ? "undrain" : "drain"))]));
    return [upstreamTable(bySickness(stats.upstreams)), el("h2", {}, "Endpoints"),
      table("Where calls go, and why not; those that get none first", ["<upstream", "<endpoint", "<state", "requests", "weight", "<reason", ""], ends, "No upstream has endpoints.")];
  },
  bus() {
    const batches = new Map(), spent = (call, what) => (call.timeline.find((p) => p.what === what) || { us: 0 }).us, most = (list, what) => Math.max(0, ...list.map((c) => spent(c, what)));
    for (const call of calls) if (call.batch_id) batches.set(call.batch_id, [...(batches.get(call.batch_id) || []), call]);
    const left = (members) => Math.max(...members.map((c) => c.started_at + (spent(c, "look_up") + spent(c, "queue")) / 1e6));
    const rows = [...batches].map(([id, members]) => [left(members), id, members]).sort((a, b) => b[0] - a[0]).slice(0, 60).map(([at, id, members]) => row([clock(at), text(String(id)),
      text(el("div", { class: "bus", role: "img", "aria-label": members[0].batch_size + " calls" }, ...Array.from({ length: Math.min(members[0].batch_size, 60) }, () => el("i")))),
      number(members[0].batch_size), el("td", { class: "text state" }, members[0].batch_reason, el("small", {}, reasons[members[0].batch_reason])), time(most(members, "queue")), el("td", { class: members.some(isUnderWay) ? "warn" : "" }, soFar(members.find(isUnderWay) || {}, most(members, "upstream"))), text([...new Set(members.map((m) => m.tool))].join(", "))]));
    const why = stats.upstreams.filter((u) => Object.keys(u.flushes).length).map((u) => row([u.name, number(u.requests), number(u.saved_requests),
      el("td", { class: "text long" }, Object.entries(u.flushes).sort((a, b) => b[1] - a[1]).map(([reason, n]) => `${reason} ${number(n)}`).join(", "))]));
    return [table("Batches that left lately, newest first", ["<left at", "<batch", "<riders", "calls", "<why it left", "longest wait", "under way", "<tools"], rows, "No batch has left lately."),
      el("h2", {}, "Why they left"), table("Since the start", ["<upstream", "requests", "saved", "<reasons"], why, "No batch has left yet.")];
  },
  cache() {
    const names = ["hit", "stale", "miss", "bypass", "error"], list = (counts) => Object.entries(counts || {}).filter(([, n]) => n).map(([reason, n]) => `${reason} ${number(n)}`).join(", ");
    const why = (t) => [list(t.errors) && "errors: " + list(t.errors), list(t.skipped) && "not asked: " + list(t.skipped)].filter(Boolean).join("; ");
    const share = (t) => t && t.hit + t.stale + t.miss ? (t.hit + t.stale) / (t.hit + t.stale + t.miss) : null;
    const lately = (name) => { // between two looks
      const is = stats.cache.find((t) => t.tier === name), was = before && before.cache.find((t) => t.tier === name);
      return is && was ? share({ hit: is.hit - was.hit, stale: is.stale - was.stale, miss: is.miss - was.miss }) : null;
    };
    const rows = Object.entries(tiers || {}).map(([name, t]) => row([el("th", { scope: "row" }, name),
      el("td", { class: "text state" }, el("span", { class: (t.status || "up") === "up" ? "good" : "bad" }, t.status || "up"), t.detail ? el("small", {}, t.detail) : null),
      percent(lately(name)), percent(share(t)), ...names.map((n) => number(t[n])), number(t.stored), number(t.entries),
      t.bytes === undefined ? "–" : `${bytes(t.bytes)} of ${bytes(t.capacity_bytes)}`, el("td", { class: "text long" }, why(t))]));
    const left = tiers && tiers.memory.evictions;
    return [table("Look-ups by result since the start, and what is held", ["<tier", "<state", "answered now", "in all", ...names, "stored", "entries", "bytes", "<errors, and why it was not asked"], rows, "No tier."),
      left ? el("p", { class: "dim" }, "What has left memory: ", Object.entries(left).map(([reason, n]) => `${reason} ${number(n)}`).join(", "), ".") : null];
  },
  tools() {
    const past = new Map((before ? before.tools : []).map((t) => [t.name, t])), span = before ? stats.at - before.at : 1;
    const wanted = stats.tools.filter((t) => t.name.toLowerCase().includes(search.text)), by = search.by;
    const rows = wanted.sort((a, b) => (by === "name" ? 0 : (b[by] || 0) - (a[by] || 0)) || a.name.localeCompare(b.name)).slice(0, 200).map((t) => row([
      el("th", { scope: "row" }, el("a", { href: "#tools/" + encodeURIComponent(t.name) }, t.name)), el("td", {}, el("a", { href: "#calls", title: "the last calls of " + t.name, onclick: () => { filter.tool = t.name; } }, number(t.calls))),
      number(past.has(t.name) ? Math.max(0, (t.calls - past.get(t.name).calls) / span) : null),
      el("td", { class: t.errors ? "warn" : "" }, number(t.errors)), number(t.saved_requests), time(t.p50_us), time(t.p99_us)]));
    const all = stats.tools.length, shown = rows.length < wanted.length ? `The first ${rows.length} of ${wanted.length} tools` : search.text ? `${rows.length} of ${all} tools` : all > 1 ? `All ${all} tools` : "The tool";
    return [table(`${shown}; p50 and p99 of the last minutes. A name leads to its form`, ["<tool", "calls", "a second", "errors", "joined", "p50", "p99"], rows, all ? "No tool has this in its name." : "There is no tool yet.")];
  },
  calls() {
    const met = new Map(); // calls of one request may have begun together
    const tenants = calls.some((c) => c.tenant), sorted = order.by === "took" ? [...calls].sort((a, b) => isUnderWay(b) - isUnderWay(a) || b.total_us - a.total_us) : calls;
    const rows = sorted.slice(0, 200).flatMap((call) => {
      const key = keyOf(call), nth = (met.get(key) || 0) + 1, id = `${key} ${nth}`;
      met.set(key, nth);
      const open = opened === id, one = row([clock(call.started_at), text(call.tool),
        text(isUnderWay(call) ? el("span", { class: "warn" }, parts[call.stage]) : el("span", { class: call.outcome === "ok" ? "good" : "bad" }, call.outcome)), ...(tenants ? [text(call.tenant || "")] : []), text(call.cache), soFar(call, call.total_us), text(bar(call)),
        text(el("button", { "aria-expanded": String(open), title: call.request_id, onclick: () => { opened = open ? "" : id; draw(); if (!open) fetchMates(call); } }, call.request_id.slice(0, 12) || "no request"))]);
      return open ? [one, el("tr", {}, el("td", { colspan: tenants ? 8 : 7, class: "text long" }, story(call)))] : [one];
    });
    const away = calls.filter(isUnderWay).length, all = !filter.tool && !filter.tenant && !filter.outcome;
    return [tenantTable(), all && away >= 64 && inFlight > away ? el("p", { class: "dim" }, `${inFlight} calls are under way; here are the ${away} that have been for longest.`) : null,
      legend(), table(`Calls under way, then the last ones, ${order.by === "took" ? "slowest" : "newest"} first; failed and slow ones stay longer. A request's id opens its story`, ["<began", "<tool", "<outcome or place", ...(tenants ? ["<tenant"] : []), "<cache", "took", "<where its time went", "<request"], rows, "No such call lately.")];
  },
  processes() {
    const isIll = (p) => stats.upstreams.some((u) => u.name === p.upstream && u.condition !== "well");
    const how = (p) => { const u = stats.upstreams.find((u) => u.name === p.upstream); return u ? sign(u, true) : text("–"); };
    return [table("Programs that jitney runs", ["<upstream", "<state, and last words", "running", "starts", "crashes", "CPU", "memory"],
      [...stats.processes].sort((a, b) => isIll(b) - isIll(a)).map((p) => row([p.upstream, how(p), number(p.running), number(p.starts), el("td", { class: p.crashes ? "bad" : "" }, number(p.crashes)), time(p.cpu_us), bytes(p.rss_bytes)])),
      "No upstream is a program."),
      stats.processes.some((p) => p.members.length) ? table("Each process; CPU and memory with what it has started itself", ["<upstream", "pid", "<state", "calls in it", "calls ever", "CPU", "memory", "up for"],
        stats.processes.flatMap((p) => p.members.map((m) => row([p.upstream, String(m.pid), text(el("span", { class: m.state === "ready" ? "good" : "warn" }, m.state)), number(m.calls), number(m.served), time(m.cpu_us), bytes(m.rss_bytes), span(Math.max(0, stats.at - m.started_at))]))), "") : null,
      el("h2", {}, "Lists of MCP servers"),
      table("What MCP servers list", ["<upstream", "<list", "tools", "refused", "age", "<why"], lists.map((l) => row([l.upstream,
        text(el("span", { class: { fresh: "good", stale: "bad" }[l.list] || "warn" }, l.list)), number(l.shown), el("td", { class: l.refused.length ? "warn" : "", title: l.refused.map((r) => `${r.tool}: ${r.why}`).join("\n") }, number(l.refused.length)),
        l.age_ms === undefined ? "–" : span(l.age_ms / 1000), el("td", { class: "text long" }, l.why || "")])), "No upstream lists its tools itself.")];
  },
  alerts() {
    if (!alerts) return [];
    const hook = alerts.webhook, value = (unit, v) => unit === "us" ? time(v) : unit === "percent" ? Math.round(v) + " %" : unit === "state" ? "" : number(v);
    const units = new Map(alerts.conditions.map((c) => [c.alert, c.unit]));
    const line = (a) => row([el("th", { scope: "row" }, a.alert), text(el("span", { class: a.severity === "critical" ? "bad" : "warn" }, a.severity || "not yet")), el("td", { class: "text long" }, (a.upstream ? a.upstream + " " : a.kind === "worker" ? "worker " : "") + (a.subject || "the gateway")),
      el("td", { class: "text long" }, a.detail), value(units.get(a.alert), a.value), value(units.get(a.alert), a.threshold), span(Math.max(0, stats.at - a.since))]);
    const heads = ["<alert", "<severity", "<of", "<what", "is", "bound", "for"];
    return [table("What fires", heads, worst(alerts.alerts).map(line), "Nothing fires."), alerts.left_out ? el("p", { class: "warn" }, `and ${alerts.left_out} more`) : null,
      alerts.pending.length ? table("What will, if it stays so", heads, alerts.pending.map(line), "") : null,
      el("p", { class: hook.reason ? "bad" : "dim" }, hook.configured ? `Webhook: ${hook.ok} posted, ${hook.waiting} waiting, ${hook.failed} given up, ${hook.dropped} dropped. ${hook.reason || ""}` : "Nobody is told: alerts.webhook is not set."),
      el("h2", {}, "Conditions"), table("From where on, and for how long", ["<alert", "warning", "critical", "held for"], alerts.conditions.map((c) => row([c.alert,
        ...["warning", "critical"].map((s) => c.unit === "state" ? (c.severity === s ? "yes" : "–") : c[s] ? (c.falls ? "below " : "") + value(c.unit, c[s]) : "–"), c.for_us ? span(c.for_us / 1e6) : "at once"])), "")];
  },
};

// What is typed into stays while the rest of its view is drawn anew.
const choice = (label, words, chosen, onchange) => el("select", { "aria-label": label, onchange }, ...words.map(([value, word]) => el("option", { value, selected: value === chosen }, word)));
const nameList = () => el("datalist", { id: "names" }, ...(stats ? stats.tools.slice(0, 2000).map((t) => el("option", { value: t.name })) : []));
const outcomes = ["ok", "tool_error", "upstream_error", "upstream_timeout", "upstream_unavailable", "outcome_unknown", "overloaded", "deadline_exceeded", "cancelled", "invalid_request", "internal"];
const forms = {
  tools: () => el("form", { onsubmit: (e) => e.preventDefault() },
    el("input", { type: "search", value: search.text, placeholder: "part of a name", "aria-label": "part of a tool's name", oninput: (e) => { search.text = e.target.value.trim().toLowerCase(); draw(); } }),
    el("label", {}, "first by ", choice("sorted by", [["calls", "calls"], ["errors", "errors"], ["p99_us", "p99"], ["p50_us", "p50"], ["saved_requests", "joined"], ["name", "name"]], search.by, (e) => { search.by = e.target.value; draw(); }))),
  calls: () => el("form", { onsubmit: (e) => { e.preventDefault(); refresh(); } },
    el("input", { type: "search", value: filter.tool, placeholder: "tool", "aria-label": "tool", list: "names", onchange: (e) => { filter.tool = e.target.value.trim(); refresh(); } }), nameList(),
    el("input", { type: "search", value: filter.tenant, placeholder: "tenant", "aria-label": "tenant", size: 12, onchange: (e) => { filter.tenant = e.target.value.trim(); refresh(); } }),
    choice("outcome", [["", "any outcome"], ...outcomes.map((w) => [w, w])], filter.outcome, (e) => { filter.outcome = e.target.value; refresh(); }),
    choice("order", [["began", "newest first"], ["took", "slowest first"]], order.by, (e) => { order.by = e.target.value; draw(); })),
  cache() {
    const what = el("input", { size: 24, required: true, placeholder: "name", "aria-label": "name of the tool or tag", list: "names" });
    const by = choice("purge by", [["tool", "tool"], ["tag", "tag"], ["prefix", "begin of a tool's name"]], "tool");
    const said = el("span", { role: "status" }), query = () => `${by.value}=${encodeURIComponent(what.value)}`;
    const count = async () => {
      const reply = await fetch("admin/cache/count?" + query()), found = await reply.json().catch(() => ({}));
      said.className = reply.ok ? "" : "bad";
      said.textContent = reply.ok ? `${by.selectedOptions[0].text} ${what.value}: ${held(found)}.` : found.detail || reply.statusText;
      return reply.ok;
    };
    return el("form", { class: "last", onsubmit: async (e) => { e.preventDefault(); const button = e.submitter; if (await count() && button.value === "purge") change(`Drop what is kept by ${said.textContent.slice(0, -1)}?`, "DELETE", "admin/cache?" + query(), button); } },
      el("label", {}, "Answers by ", by), what, nameList(), el("button", { value: "count" }, "count"), el("button", { value: "purge" }, "purge"), said);
  },
};

// What a purge would drop.
const held = ({ memory, disk, redis }) => [`${memory.status === "counted" ? "" : "more than "}${memory.entries} answer${memory.entries === 1 ? "" : "s"} (${bytes(memory.bytes)}) in memory`,
  disk ? `${disk.status === "counted" ? disk.entries : "an unknown number"} on disk` : "", redis ? "and those in Redis, which nobody counts" : ""].filter(Boolean).join(", ");

// What tenants have cost since they are counted, and do now.
function tenantTable() {
  const all = stats.tenants, others = stats.other_tenants, whole = all.reduce((sum, t) => sum + t.upstream_us, others.upstream_us), span_s = before ? stats.at - before.at : 1;
  const past = new Map((before ? before.tenants : []).map((t) => [t.name, t])), figures = (t) => [number(t.calls), el("td", { class: t.errors ? "warn" : "" }, number(t.errors)), time(t.upstream_us), percent(whole ? t.upstream_us / whole : null)];
  const rows = all.slice(0, 12).map((t) => row([el("th", { scope: "row" }, el("button", { onclick: () => { filter.tenant = t.name; shown = ""; refresh(); } }, t.name)),
    number(past.has(t.name) ? Math.max(0, (t.calls - past.get(t.name).calls) / span_s) : null), ...figures(t), span(Math.max(0, stats.at - t.since))]));
  if (others.calls) rows.push(row(["others, not kept any more", "–", ...figures(others), "–"]));
  return rows.length ? table(`Tenants, the dearest first${all.length > 12 ? `: 12 of ${all.length}` : ""}; what a request to a provider takes counts for its calls in equal parts`,
    ["<tenant", "calls a second", "calls", "errors", "time at providers", "share", "counted for"], rows, "") : null;
}

function upstreamTable(list) {
  return table("Upstreams, the sick first", ["<upstream", "<state", "requests", "errors", "in flight", "waiting", "p50", "p99", "saved", "repeats left", "cost: request + call", "window"],
    list.map((u) => row([u.name, sign(u, true), number(u.requests), el("td", { class: u.errors ? "warn" : "" }, number(u.errors)),
      `${number(u.in_flight)} of ${number(u.limit)}`, number(u.waiting), time(u.p50_us), time(u.p99_us), number(u.saved_requests), percent(u.retry_budget),
      u.cost_fixed_us || u.cost_item_us ? `${time(u.cost_fixed_us)} + ${time(u.cost_item_us)}` : "–", u.window_us ? time(u.window_us) : "–"], { class: u.condition === "sick" ? "sick" : "" })),
    "There is no upstream.");
}
// Why a batch leaves (metrics/catalogue.h).
const reasons = { idle: "nothing was under way", landed: "another request came back", items: "as many calls waited as may ride together, or as fill one", bytes: "full: no more bytes may", share: "its share of the calls that wait", window: "it had waited as long as it may",
  rate: "the provider's rate let it go", split: "part of one that was refused", deadline: "a call could not wait longer", single: "each call travels alone" };
const parts = { look_up: "looking up in Redis or on disk", queue: "waiting in the line", upstream: "at the provider", gateway: "in the gateway" };
const legend = () => el("p", { class: "legend dim" }, ...Object.entries(parts).map(([kind, word]) => el("span", {}, el("i", { class: kind }), " " + word)));
// from, whole: seconds, of the whole drawing; without them the call is all of it.
function bar(call, from = call.started_at, whole = call.total_us / 1e6) {
  const label = call.timeline.map((p) => `${p.what} ${time(p.us)}`).join(", ");
  const drawn = el("div", { class: "bar", role: "img", title: label, "aria-label": label || "at once" }, ...call.timeline.map((p) => {
    const part = el("i", { class: p.what });
    part.style.width = (p.us / Math.max(1, whole * 1e4)).toFixed(2) + "%";
    return part;
  }));
  if (call.started_at > from) drawn.firstChild.style.marginLeft = (100 * (call.started_at - from) / whole).toFixed(2) + "%";
  return drawn;
}
const isUnderWay = (call) => call.state === "under_way";
const soFar = (call, us) => time(us) + (isUnderWay(call) ? " so far" : "");
const keyOf = (call) => `${call.request_id} ${call.started_at} ${call.tool}` + (isUnderWay(call) ? "" : ` ${call.batch_id} ${call.total_us}`);
async function fetchMates(call) {
  if (!call.batch_id) return;
  mates = (await read("admin/calls?limit=100&batch_id=" + call.batch_id).catch(() => ({ calls: [] }))).calls;
  draw();
}
// One call as a time line, and those who travelled along on the same scale.
function story(call) {
  const others = call.batch_id ? mates.filter((m) => m.batch_id === call.batch_id) : [], self = others.findIndex((m) => keyOf(m) === keyOf(call));
  if (self >= 0) others.splice(self, 1);
  const all = [call, ...others.slice(0, 20)];
  const from = Math.min(...all.map((c) => c.started_at)), whole = Math.max(1e-6, ...all.map((c) => c.started_at + c.total_us / 1e6)) - from;
  return el("div", { class: "story" }, el("p", {}, `${call.tool}, request ${call.request_id}: `, call.timeline.map((p) => `${parts[p.what] || p.what} ${time(p.us)}`).join(" → ") || "answered at once", ". ",
    isUnderWay(call) ? `Now ${parts[call.stage]}. ` : "", call.batch_id ? `Left in batch ${call.batch_id}${call.batch_size > 1 ? ` with ${call.batch_size - 1} other${call.batch_size > 2 ? "s" : ""}` : ", alone"} (${call.batch_reason}: ${reasons[call.batch_reason]}), attempt ${call.attempts}. ` : isUnderWay(call) ? "Not sent yet. " : "Sent nowhere. ",
    ...(call.tenant ? ["Tenant ", el("bdi", {}, call.tenant), ". "] : []), call.detail ? el("b", {}, call.detail) : null),
    call.batch_id ? el("div", { class: "falls" }, ...all.map((c, i) => el("div", { class: "fall" }, el("span", { class: i ? "dim" : "" }, c.tool), bar(c, from, whole), el("span", { class: "dim" }, time(c.total_us))))) : null,
    others.length + 1 < call.batch_size && mates.length ? el("p", { class: "dim" }, "Not all of them are remembered any more.") : null);
}

// A form from a tool's input schema, and what came of a call.
const plain = (s) => [].concat(s.type || []).filter((t) => t !== "null");
// Inputs are kept beside the form, by their properties' names, and have none: a name such as "elements" would hide the form's own.
function field(name, schema, needed, inputs) {
  const kind = plain(schema)[0], id = "arg-" + name, hint = schema.description || "";
  let input;
  if (schema.enum || kind === "boolean")
    input = el("select", { id }, needed ? null : el("option", { value: "" }, "–"), ...(schema.enum || [true, false]).map((v) => el("option", { value: JSON.stringify(v) }, String(v))));
  else if (["integer", "number"].includes(kind)) input = el("input", { id, type: "number", step: kind === "integer" ? "1" : "any", min: schema.minimum, max: schema.maximum, required: needed });
  else if (kind === "string") input = el((schema.maxLength || 0) > 200 ? "textarea" : "input", { id, required: needed, maxlength: schema.maxLength, placeholder: schema.format || "" });
  else input = el("textarea", { id, required: needed, rows: 3, placeholder: "JSON" });
  inputs.set(name, { input, kind, needed, word: Boolean(schema.enum) || kind === "boolean" });
  if (hint) input.setAttribute("aria-describedby", id + "-hint");
  const given = schema.default !== undefined ? schema.default : undefined;
  if (given !== undefined) input.value = input.tagName === "SELECT" || typeof given === "object" ? JSON.stringify(given) : String(given);
  return el("div", { class: "field" }, el("label", { for: id }, el("bdi", {}, name), needed ? el("b", { title: "required" }, " *") : null, el("span", { class: "dim" }, " " + (schema.enum ? "one of" : plain(schema).join(" or ") || "JSON"))), input,
    hint ? el("small", { id: id + "-hint", class: "dim told" }, hint) : null);
}
// As JSON text: a number keeps the digits that were typed.
function argumentsOf(inputs, raw) {
  if (raw.value.trim()) { JSON.parse(raw.value); return raw.value; }
  const members = [];
  for (const [name, { input, kind, needed, word }] of inputs) {
    const given = input.value;
    if (given === "" && !(needed && kind === "string")) continue;
    const value = kind === "string" && !word ? JSON.stringify(given) : given.trim();
    JSON.parse(value);
    members.push(`${JSON.stringify(name)}:${value}`);
  }
  return `{${members.join(",")}}`;
}
async function callTool(tool, { inputs, raw, fresh, button }, result) {
  const show = (...parts) => result.replaceChildren(...parts.filter(Boolean));
  let body;
  try { body = argumentsOf(inputs, raw); } catch (error) { return show(el("p", { class: "bad" }, `The arguments are not JSON: ${error.message}`)); }
  if (!(tool.annotations || {}).read_only && !confirm(`${tool.name} may change something. Call it with ${body.slice(0, 300)}?`)) return;
  const headers = { "Content-Type": "application/json" };
  if (fresh.checked) headers["Cache-Control"] = "no-cache";
  button.disabled = true;
  show(el("p", { class: "dim" }, "Under way …"));
  try {
    const began = performance.now(), reply = await fetch("admin/tools/" + encodeURIComponent(tool.name), { method: "POST", headers, body }), said = await reply.text(), took = performance.now() - began;
    let pretty = said;
    try { pretty = JSON.stringify(JSON.parse(said), null, 2); } catch { /* as it came */ }
    const known = await read("admin/calls/" + encodeURIComponent(reply.headers.get("x-request-id"))).catch(() => ({ calls: [] })), call = known.calls[0];
    show(el("p", {}, el("b", { class: reply.ok ? "good" : "bad" }, `${reply.status} ${reply.statusText}`), ` in ${took.toFixed(1)} ms, ${bytes(said.length)}`),
      call ? el("div", {}, call.batch_id ? null : bar(call), legend(), story(call)) : null,
      el("h3", {}, "Body"), el("pre", { tabindex: 0 }, pretty.length > 65536 ? pretty.slice(0, 65536) + "\n…" : pretty),
      table("Headers", ["<header", "<value"], [...reply.headers].map(([name, value]) => row([name, el("td", { class: "text long" }, value)])), ""));
  } catch (error) { show(el("p", { class: "bad" }, `No answer: ${error.message}`)); }
  button.disabled = false;
}
async function openBench(name) {
  const box = el("div", {}, el("p", { class: "dim" }, "Reading its definition …"));
  bench = { name, box };
  try {
    const tool = await read("admin/tools/" + encodeURIComponent(name)), schema = tool.input_schema || {}, needed = schema.required || [], notes = tool.annotations || {};
    const result = el("section", { "aria-live": "polite", "aria-label": "what came of it" });
    const parts = { inputs: new Map(), raw: el("textarea", { rows: 4, "aria-label": "arguments as JSON" }), fresh: el("input", { type: "checkbox" }), button: el("button", {}, "call") };
    const form = el("form", { class: "bench", onsubmit: (event) => { event.preventDefault(); callTool(tool, parts, result); } },
      ...Object.entries(schema.properties || {}).map(([key, value]) => field(key, value || {}, needed.includes(key), parts.inputs)),
      el("details", {}, el("summary", {}, "Arguments as JSON instead"), parts.raw),
      el("label", {}, parts.fresh, " not from memory"), parts.button);
    box.replaceChildren(el("p", {}, el("a", { href: "#tools" }, "all tools"), " · ", el("a", { href: "#calls", onclick: () => { filter.tool = name; } }, "its last calls")),
      el("h2", {}, tool.title || name), tool.title ? el("p", { class: "dim" }, name) : "", el("p", { class: "told" }, tool.description || "It has no description."),
      el("p", {}, el("span", { class: notes.read_only ? "good" : "warn" }, notes.read_only ? "Changes nothing" : notes.destructive === false ? "Changes something" : "May change or destroy something"), notes.idempotent ? ", may be repeated" : "", "."), form, result);
  } catch (error) { box.replaceChildren(el("p", { class: "bad" }, `${name}: ${error.message}`)); }
}

const decoded = (text) => { try { return decodeURIComponent(text); } catch { return text; } };
const part = () => location.hash.slice(1).split("/");
const view = () => Object.hasOwn(views, part()[0]) ? part()[0] : "overview";
function draw() {
  const badge = document.querySelector('nav a[href="#alerts"]'), chosen = view() === "tools" && part()[1] && decoded(part()[1]);
  if (stats && badge) { badge.textContent = stats.alerts.length ? `alerts ${stats.alerts.length}` : "alerts"; badge.className = stats.alerts.some((a) => a.severity === "critical") ? "bad" : stats.alerts.length ? "warn" : ""; }
  for (const link of document.querySelectorAll("nav a"))
    if (link.hash.slice(1) === view()) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  if (chosen) {
    if (!bench || bench.name !== chosen) openBench(chosen);
    if (bench.box.parentNode !== main) main.replaceChildren(bench.box);
    shown = "";
    return;
  }
  bench = null;
  if (!stats) return;
  if (shown !== view()) {
    const form = forms[view()] && forms[view()]();
    body = el("div");
    main.replaceChildren(...(form && !form.classList.contains("last") ? [form, body] : [body, form].filter(Boolean)));
    shown = view();
  }
  const focused = document.activeElement, at = body.contains(focused) && focused.textContent;
  body.replaceChildren(...views[view()]().filter(Boolean));
  const again = at && [...body.querySelectorAll("button, a")].find((node) => node.textContent === at);
  if (again) again.focus();
}
async function read(path) {
  const reply = await fetch(path);
  if (!reply.ok) throw new Error(`${path}: ${reply.status}`);
  return reply.json();
}
let reading = false, anew = false;
async function refresh() {
  anew = reading;
  if (reading) return;
  reading = true;
  try {
    const fresh = await read("admin/stats"), asked = new URLSearchParams(view() === "calls" ? Object.entries(filter).filter(([, v]) => v) : []);
    asked.set("limit", "600");
    if (["calls", "bus"].includes(view())) ({ calls, in_flight: inFlight } = await read("admin/calls?" + asked));
    if (view() === "cache") tiers = await read("admin/cache");
    if (view() === "alerts") alerts = await read("admin/alerts");
    if (view() === "processes") lists = (await read("admin/tools")).lists;
    before = stats && fresh.at - stats.at >= 1 ? stats : before;
    stats = fresh;
    state.textContent = clock(stats.at);
    state.className = "dim";
    draw();
  } catch (error) {
    state.textContent = `no answer: ${error.message}`;
    state.className = "bad";
  }
  reading = false;
  if (anew) refresh();
}
addEventListener("hashchange", () => { draw(); refresh(); });
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
setInterval(() => { if (!document.hidden) refresh(); }, 2000);
document.querySelector("nav").hidden = false;
refresh();
setTimeout(refresh, 1200); // what grows is seen by two looks
