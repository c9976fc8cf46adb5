"use strict";
// Asks interpose.json every two seconds while somebody looks, and shows what it says. Everything that comes of calls is
// put in as text: a program, a model and a client may be called anything.
(() => {
  const EVERY = 2000, PATIENCE = 10000, LONGEST = 30000;
  const DIMENSIONS = ["app", "model", "client"];
  const SPANS = { "15m": "15 minutes", "1h": "hour", "3h": "3 hours", today: "today", run: "this run" };
  const at = (id) => document.getElementById(id);

  // --- words ---------------------------------------------------------------------------------------------------------
  const whole = new Intl.NumberFormat("en");
  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  const minute = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const moment = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const money = (dollars) => {
    const digits = dollars === 0 || dollars >= 1 ? 2 : dollars >= 0.1 ? 3 : dollars >= 0.0001 ? 4 : 6;
    return "$" + dollars.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: digits });
  };
  const tokens = (count) => {
    for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]])
      if (count >= size * 9.995) return (count / size).toLocaleString("en", { maximumSignificantDigits: 3 }) + unit;
    return whole.format(count);
  };
  const time = (ms) => ms === null ? "–" : ms < 1000 ? `${Math.round(ms)} ms` : span(ms / 1000);
  const span = (s) => s < 10 ? `${s.toFixed(1)} s` : s < 120 ? `${Math.round(s)} s` : s < 7200 ? `${Math.round(s / 60)} min` : s < 172800 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} d`;
  const share = (part, all) => {
    const percent = all ? part / all * 100 : 0;
    return (percent > 0 && percent < 10 ? percent.toFixed(1) : String(Math.round(percent))) + "%";
  };
  const many = (count, one, more = one + "s") => `${whole.format(count)} ${count === 1 ? one : more}`;
  // What could turn text around, or hide in it, is shown as what it is.
  const plain = (text) => text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (each) => `\\u{${each.codePointAt(0).toString(16)}}`);
  const since = (seconds) => (new Date(seconds * 1000).toDateString() === new Date().toDateString() ? minute : moment).format(seconds * 1000);

  // --- elements ------------------------------------------------------------------------------------------------------
  const make = (tag, { text, ...rest } = {}, ...inside) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    for (const [name, value] of Object.entries(rest)) if (value !== null) made.setAttribute(name, value);
    made.append(...inside.filter((each) => each !== null));
    return made;
  };
  const drawn = (tag, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  };
  // The number itself stands beside what is shown of it.
  const data = (value, text) => make("data", { text, value: value === null ? "" : String(value) });
  const put = (id, ...what) => at(id).replaceChildren(...what);
  const word = (name) => name === null ? make("span", { text: "not known", class: "unknown" }) : make("bdi", { text: plain(name), title: plain(name) });
  const filled = (part) => {
    const bar = make("span", { class: "share", "aria-hidden": "true" }, make("i"));
    bar.firstChild.style.setProperty("--share", Math.max(0, Math.min(1, part)));
    return bar;
  };
  // Rows that stay keep their element, so that focus and selection do.
  const lay = (parent, items, key, build) => {
    const focused = document.activeElement;
    const before = new Map([...parent.children].map((each) => [each.dataset.key, each]));
    items.forEach((item, place) => {
      const name = key(item), told = JSON.stringify(item);
      let row = before.get(name);
      before.delete(name);
      if (!row || row.dataset.told !== told) {
        const made = build(item);
        made.dataset.key = name;
        made.dataset.told = told;
        if (row) {
          const inside = row.contains(focused) ? [...row.querySelectorAll("a, button")].indexOf(focused) : -1;
          row.replaceWith(made);
          if (inside >= 0) made.querySelectorAll("a, button")[inside]?.focus({ preventScroll: true });
        }
        row = made;
      }
      if (parent.children[place] !== row) parent.insertBefore(row, parent.children[place] ?? null);
    });
    for (const gone of before.values()) gone.remove();
    if (focused?.isConnected && document.activeElement === document.body) focused.focus({ preventScroll: true });
  };

  // --- what is asked -------------------------------------------------------------------------------------------------
  const wanted = { app: [], model: [], client: [], span: "1h" };
  const names = { app: [], model: [], client: [] };
  const read = () => {
    const query = new URLSearchParams(location.search);
    for (const name of DIMENSIONS) wanted[name] = query.getAll(name);
    wanted.span = query.get("span") in SPANS ? query.get("span") : "1h";
  };
  const query = () => {
    const made = new URLSearchParams();
    for (const name of DIMENSIONS) for (const value of wanted[name]) made.append(name, value);
    if (wanted.span !== "1h") made.set("span", wanted.span);
    return made;
  };
  const choose = (changes) => {
    Object.assign(wanted, changes);
    const made = query().toString();
    history.pushState(null, "", made ? `?${made}` : location.pathname);
    chosen();
    ask();
  };
  const chosen = () => {
    for (const input of document.querySelectorAll("[name=span]")) input.checked = input.value === wanted.span;
    for (const name of DIMENSIONS) options(name);
    at("clear").hidden = DIMENSIONS.every((name) => !wanted[name].length);
    const made = query().toString();
    at("json").href = made ? `interpose.json?${made}` : "interpose.json";
  };
  // The choices of a dimension stand in `names`; of an option only its place counts, whatever it is called.
  const options = (name) => {
    const select = at("filters").elements[name];
    const listed = [...names[name]];
    for (const value of wanted[name]) if (!listed.includes(value)) listed.push(value);
    const several = wanted[name].length > 1;
    const texts = [several ? `${wanted[name].length} chosen` : "All", ...listed.map((value) => value === "" ? "not known" : plain(value))];
    if (JSON.stringify(texts) !== select.dataset.told) {
      select.dataset.told = JSON.stringify(texts);
      select.replaceChildren(...texts.map((text) => make("option", { text })));
    }
    select.choices = [[], ...listed.map((value) => [value])];
    select.selectedIndex = several || !wanted[name].length ? 0 : listed.indexOf(wanted[name][0]) + 1;
    select.classList.toggle("chosen", wanted[name].length > 0);
  };

  // --- asking --------------------------------------------------------------------------------------------------------
  let timer = 0, asked = 0, misses = 0, paused = false, latest = null;
  const say = (text, kind) => {
    const state = at("state");
    if (state.textContent !== text) state.textContent = text;
    state.className = kind;
  };
  const ask = async () => {
    clearTimeout(timer);
    const number = ++asked;
    const question = query();
    question.set("calls", "30");
    question.set("midnight", String(Math.floor(new Date().setHours(0, 0, 0, 0) / 1000)));
    try {
      const reply = await fetch(`interpose.json?${question}`, { cache: "no-store", credentials: "same-origin", signal: AbortSignal.timeout(PATIENCE) });
      if (number !== asked) return;
      if (reply.status === 403) {
        say("Logged out: interpose was started anew. Open the address that it has printed.", "bad");
        return;
      }
      if (!reply.ok) throw new Error(await reply.text());
      const told = await reply.json();
      if (number !== asked) return;
      misses = 0;
      latest = told;
      show(told);
      say(paused ? `Paused at ${clock.format(told.at * 1000)}` : "Live", paused ? "" : "good");
    } catch {
      if (number !== asked) return;
      misses += 1;
      say(latest ? `No answer since ${clock.format(latest.at * 1000)}; asking again` : "No answer; asking again", "bad");
    }
    if (!paused && !document.hidden) timer = setTimeout(ask, Math.min(EVERY * 2 ** Math.min(misses, 5), LONGEST));
  };
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (!document.hidden && !paused) ask();
  });
  at("pause").addEventListener("click", () => {
    paused = !paused;
    at("pause").setAttribute("aria-pressed", String(paused));
    clearTimeout(timer);
    if (paused) say(latest ? `Paused at ${clock.format(latest.at * 1000)}` : "Paused", "");
    else ask();
  });
  at("filters").addEventListener("submit", (event) => event.preventDefault());
  at("filters").addEventListener("change", ({ target }) => {
    if (target.name === "span") choose({ span: target.value });
    else if (DIMENSIONS.includes(target.name)) choose({ [target.name]: target.choices[target.selectedIndex] });
  });
  at("clear").addEventListener("click", () => {
    choose({ app: [], model: [], client: [] });
    at("filters").elements.app.focus();
  });
  addEventListener("popstate", () => { read(); chosen(); ask(); });

  // --- showing -------------------------------------------------------------------------------------------------------
  const show = (told) => {
    for (const name of DIMENSIONS) names[name] = told.names[name].map((each) => each ?? "");
    for (const name of DIMENSIONS) options(name);
    const filtered = DIMENSIONS.some((name) => wanted[name].length);
    const nothing = !told.run.calls && !told.under_way.calls;
    at("empty").hidden = filtered || !nothing;
    at("none").hidden = nothing ? !filtered : told.total.calls > 0 || told.under_way.calls > 0;
    at("shown").hidden = nothing;
    at("around").hidden = false;
    if (told.proxy.length) at("lead").textContent = `eval "$(interpose env)"    # HTTPS_PROXY=${told.proxy[0]}, and what trusts its CA`;
    put("since", moment.format(told.since * 1000));
    notices(told);
    tiles(told);
    charts(told);
    for (const table of document.querySelectorAll("[data-by]")) lines(table, table.dataset.by, told.by[table.dataset.by]);
    around(told);
    underWay(told.under_way);
    calls(told.calls);
  };

  const notices = (told) => {
    const found = told.alerts.map((each) => ({ bad: true, text: `Alert ${each.text}, since ${since(each.since)}` }));
    if (told.rules.stale !== null) found.push({ bad: true, text: told.rules.stale });
    for (const sink of told.ledger.sinks) {
      if (sink.lost) found.push({ bad: true, text: `${many(sink.lost, "record")} lost for ${sink.name}: it was away for too long` });
      if (sink.away) found.push({ bad: false, text: `${sink.name} takes no records just now: ${many(sink.waiting, "record waits", "records wait")} ${sink.spooled ? "on disk" : "in memory"}` });
    }
    at("notices").hidden = !found.length;
    lay(at("notices"), found, (each) => each.text, (each) => make("li", { text: plain(each.text), class: each.bad ? "bad" : null }));
  };

  const tiles = (told) => {
    const { now, today, run, total, times } = told;
    const hourly = now.cost_usd * 60 / now.minutes;
    put("now", data(now.cost_usd, money(hourly)), " ", make("small", { text: "an hour" }));
    put("now-more", `${money(now.cost_usd)} in ${now.minutes} minutes`);
    put("today", data(today.cost_usd, money(today.cost_usd)));
    const midnight = new Date().setHours(0, 0, 0, 0) / 1000;
    put("today-more", told.since > midnight ? `since ${minute.format(told.since * 1000)}` : many(today.calls, "call"));
    put("run", data(run.cost_usd, money(run.cost_usd)));
    put("run-more", many(run.calls, "call"));
    put("total-name", `Spend, ${wanted.span in { today: 1, run: 1 } ? SPANS[wanted.span] : `last ${SPANS[wanted.span]}`}`);
    put("total", data(total.cost_usd, money(total.cost_usd)));
    put("total-more", total.unpriced ? make("span", { text: `${many(total.unpriced, "call")} without a price`, class: "warn" }) : total.calls ? `${money(total.cost_usd / total.calls)} a call` : "");
    put("input", data(total.input_tokens, tokens(total.input_tokens)));
    put("input-more", total.input_tokens ? `${share(total.cache_read_tokens, total.input_tokens)} from the cache` : "");
    put("output", data(total.output_tokens, tokens(total.output_tokens)));
    put("output-more", total.calls ? `${tokens(Math.round(total.output_tokens / total.calls))} a call` : "");
    put("calls", data(total.calls, whole.format(total.calls)));
    put("calls-more", told.under_way.calls ? `${whole.format(told.under_way.calls)} under way` : "none under way");
    put("failed", data(total.failed, share(total.failed, total.calls)));
    at("failed").classList.toggle("bad", total.failed > 0);
    const rest = [[total.failed, "failed"], [total.turned_away, "refused or limited"], [total.aborted, "aborted"]];
    put("failed-more", rest.filter(([count]) => count).map(([count, what]) => `${whole.format(count)} ${what}`).join(", ") || "none");
    for (const percent of ["p50", "p95"]) {
      put(percent, data(times.duration_ms[percent], time(times.duration_ms[percent])));
      put(`${percent}-more`, times.ttft_ms[percent] === null ? "" : `first token ${time(times.ttft_ms[percent])}`);
    }
  };

  // --- charts --------------------------------------------------------------------------------------------------------
  const places = { "spend-chart": null, "calls-chart": null };
  const charts = ({ steps }) => {
    const per = steps.step === 60 ? "per minute" : "per 15 minutes";
    const ok = steps.calls.map((count, place) => count - steps.failed[place] - steps.turned_away[place]);
    chart("spend-chart", per, steps, [["bar-spend", steps.cost_usd]], (place) => money(steps.cost_usd[place]), "spent");
    chart("calls-chart", per, steps, [["bar-ok", ok], ["bar-failed", steps.failed], ["bar-away", steps.turned_away]], (place) =>
      [many(steps.calls[place], "call"), steps.failed[place] && `${steps.failed[place]} failed`, steps.turned_away[place] && `${steps.turned_away[place]} refused or limited`].filter(Boolean).join(", "), "made");
  };
  const chart = (id, per, steps, stacks, says, verb) => {
    const figure = at(id), count = steps.calls.length;
    const sums = Array.from({ length: count }, (_, place) => stacks.reduce((sum, [, values]) => sum + values[place], 0));
    const most = Math.max(...sums), peak = sums.indexOf(most);
    const when = (place) => minute.format((steps.from + place * steps.step) * 1000);
    figure.querySelector(".per").textContent = per;
    const picture = drawn("svg", { viewBox: `0 0 ${count} 100`, preserveAspectRatio: "none", role: "img", tabindex: "0" });
    picture.setAttribute("aria-label", most ? `${per}, from ${when(0)} to ${when(count - 1)}; most at ${when(peak)}: ${says(peak)}. Arrow keys go through the bars.` : `Nothing ${verb} from ${when(0)} to ${when(count - 1)}`);
    picture.append(drawn("line", { class: "base", x1: 0, x2: count, y1: 100, y2: 100 }));
    const slots = sums.map((_, place) => drawn("rect", { class: "slot", x: place, y: 0, width: 1, height: 100 }));
    picture.append(...slots);
    sums.forEach((sum, place) => {
      let height = 100;
      for (const [kind, values] of stacks) {
        if (!values[place]) continue;
        // What is there at all is to be seen.
        const tall = Math.max(values[place] / most * 96, 1.5);
        height -= tall;
        picture.append(drawn("rect", { class: kind, x: place + 0.1, y: height, width: 0.8, height: tall, "pointer-events": "none" }));
      }
    });
    const point = (place) => {
      places[id] = place;
      slots.forEach((slot, each) => slot.classList.toggle("here", each === place));
      figure.querySelector("output").textContent = place === null ? (most ? `most: ${says(peak)}, ${when(peak)}` : "") : `${when(place)} · ${says(place)}`;
    };
    picture.addEventListener("pointermove", (event) => {
      const box = picture.getBoundingClientRect();
      point(Math.max(0, Math.min(count - 1, Math.floor((event.clientX - box.left) / box.width * count))));
    });
    picture.addEventListener("pointerleave", () => point(null));
    picture.addEventListener("blur", () => point(null));
    picture.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, Home: -count, End: count }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      point(Math.max(0, Math.min(count - 1, (places[id] ?? count) + step)));
    });
    const before = figure.querySelector("svg"), focused = before === document.activeElement, place = places[id];
    const axis = make("div", { class: "axis", "aria-hidden": "true" }, make("span", { text: since(steps.from) }));
    if (stacks.length > 1) axis.append(make("span", { class: "key" }, ...[["ok", "ok"], ["failed", "failed"], ["away", "refused or limited"]].map(([kind, text]) => make("span", {}, make("i", { class: kind }), text))));
    axis.append(make("span", { text: minute.format((steps.from + count * steps.step) * 1000) }));
    before?.remove();
    figure.querySelector(".axis")?.remove();
    figure.append(picture, axis);
    if (focused) picture.focus({ preventScroll: true });
    point(place !== null && place < count ? place : null);
  };

  // --- tables --------------------------------------------------------------------------------------------------------
  const lines = (table, name, { lines: found, more }) => {
    if (!table.tHead) {
      const heads = [["", ""], ["Spend", "number"], ["Calls", "number"], ["Errors", "number"], ["Tokens in", "number"], ["Out", "number"]];
      table.append(make("thead", {}, make("tr", {}, ...heads.map(([text, kind]) => make("th", { text, class: kind || null, scope: "col" })))), make("tbody"));
      table.tHead.rows[0].cells[0].textContent = { app: "App", model: "Model", client: "Client" }[name];
    }
    const paid = found.reduce((sum, each) => sum + each.cost_usd, 0), made = found.reduce((sum, each) => sum + each.calls, 0);
    const rows = found.map((each) => ({ ...each, part: paid ? each.cost_usd / paid : each.calls / made }));
    lay(table.tBodies[0], more ? [...rows, { more }] : rows, (each) => JSON.stringify(each.more ? 0 : [each.name]), (each) => {
      if (each.more) return make("tr", { class: "more" }, make("td", { text: `and ${many(each.more, "other")}`, colspan: "6" }));
      const button = make("button", { type: "button", class: "name", "aria-label": `Only ${each.name === null ? "not known" : plain(each.name)}` }, word(each.name));
      button.addEventListener("click", () => choose({ [name]: [each.name ?? ""] }));
      const dash = (count, text) => count ? text : "–";
      const cost = each.unpriced && !each.cost_usd ? "no price" : dash(each.cost_usd, money(each.cost_usd));
      const numbers = [[each.cost_usd, cost], [each.calls, whole.format(each.calls)], [each.failed, dash(each.failed, whole.format(each.failed))],
        [each.input_tokens, dash(each.input_tokens, tokens(each.input_tokens))], [each.output_tokens, dash(each.output_tokens, tokens(each.output_tokens))]];
      const row = make("tr", {}, make("td", {}, button, filled(each.part)), ...numbers.map(([value, text]) => make("td", { class: "number" }, data(value, text))));
      if (each.failed) row.cells[3].classList.add("bad");
      if (cost === "no price") row.cells[1].classList.add("soft");
      return row;
    });
  };

  const around = (told) => {
    const limits = told.limits.map((each) => {
      const amount = each.kind === "budget" ? money : whole.format;
      const reset = each.resets_in > 0 ? ` · free again in ${span(each.resets_in)}` : "";
      return { key: `${each.limit}/${each.kind}/${each.of}`, name: each.limit, more: [each.kind, each.of].filter(Boolean).join(" · "), text: `${amount(each.used)} of ${amount(each.most)}${reset}`, part: each.share };
    });
    const quotas = told.quotas.map((each) => ({ key: `quota ${each.of}`, name: each.of, more: "the provider's quota", text: `${share(each.left, 1)} left`, part: 1 - each.left }));
    const found = [...limits, ...quotas];
    lay(at("limits"), found.length ? found : [{ key: "none" }], (each) => each.key, (each) => each.key === "none"
      ? make("li", { text: "No limit is in use, and no provider has told of a quota.", class: "soft" })
      : make("li", { class: each.part >= 1 ? "over" : each.part >= 0.8 ? "near" : null },
          make("div", { class: "line" }, make("span", {}, make("b", {}, word(each.name)), " ", make("span", { text: plain(each.more), class: "soft" })), make("span", { text: each.text })), filled(each.part)));
    lay(at("ledger"), told.ledger.sinks.map((each) => ({ ...each, committed: told.ledger.committed })), (each) => each.name, (each) => {
      const waits = each.waiting ? `${whole.format(each.waiting)} waiting${each.spooled ? " on disk" : ""}` : "none waiting";
      const state = each.away ? make("span", { text: "away", class: "warn" }) : make("span", { text: "up to date", class: "good" });
      return make("li", {}, make("div", {}, make("b", {}, word(each.name)), " ", each.away || each.waiting ? each.away ? state : "" : state),
        make("div", { class: "soft", text: `${many(each.committed, "call")} written, ${waits}, ${each.lost ? whole.format(each.lost) : "none"} lost` }));
    });
  };

  const clipped = (...inside) => make("span", { class: "clip" }, ...inside);
  const narrow = (name) => make("td", {}, make("span", { class: "clip app" }, word(name)));
  const to = (each) => {
    const text = [each.provider, each.route && `by ${each.route}`].filter(Boolean).map(plain).join(" ");
    return make("td", {}, text ? clipped(make("bdi", { text, title: text })) : make("span", { text: "–", class: "soft" }));
  };

  const underWay = ({ calls: count, oldest }) => {
    at("under-way").hidden = !count;
    const rows = count > oldest.length ? [...oldest, { id: "", more: count - oldest.length }] : oldest;
    lay(at("under-way").querySelector("tbody"), rows, (each) => each.id, (each) => each.more
      ? make("tr", {}, make("td", { text: `and ${many(each.more, "other")}`, colspan: "6", class: "soft" }))
      : make("tr", {}, make("td", { text: span(each.seconds) }), narrow(each.app), narrow(each.client),
          make("td", {}, clipped(word(each.model))), to(each), make("td", { text: each.answering ? "answering" : each.attempts > 1 ? `waiting, attempt ${each.attempts}` : each.attempts ? "waiting" : "beginning" })));
  };

  const KINDS = { ok: "good", error: "bad", truncated: "bad", refused: "warn", limited: "warn", aborted: "soft" };
  const calls = (found) => {
    at("last").hidden = !found.length;
    lay(at("last").querySelector("tbody"), found, (each) => each.id, (each) => {
      const when = clock.format(each.at * 1000);
      const ended = each.flow ? make("a", { text: when, href: `./#/flows/${encodeURIComponent(each.flow)}/response`, "aria-label": `The flow of ${when}` }) : when;
      const asked = each.asked_model !== null && each.asked_model !== each.model && each.model !== null;
      const model = asked ? clipped(word(each.asked_model), " → ", word(each.model)) : clipped(word(each.model));
      const input = each.input_tokens === null ? ["–"] : [data(each.input_tokens, tokens(each.input_tokens)), each.cache_read_tokens ? make("span", { text: ` ${tokens(each.cache_read_tokens)} cached`, class: "soft" }) : ""];
      const output = each.output_tokens === null ? "–" : data(each.output_tokens, (each.usage_source === "estimated" ? "~" : "") + tokens(each.output_tokens));
      const cost = each.cost_usd === null ? "–" : data(each.cost_usd, money(each.cost_usd));
      const outcome = make("span", { class: `outcome ${KINDS[each.outcome] ?? "soft"}`, text: each.outcome === "ok" ? "ok" : [each.outcome, each.status].filter(Boolean).join(" ") });
      return make("tr", {}, make("td", {}, ended), make("td", {}, outcome, each.converted ? make("span", { text: " converted", class: "soft" }) : null),
        narrow(each.app), narrow(each.client), make("td", {}, model), to(each), make("td", { class: "number" }, ...input),
        make("td", { class: "number" }, output), make("td", { class: "number" }, cost),
        make("td", { class: "number", text: time(each.ttft_ms) }), make("td", { class: "number", text: time(each.duration_ms) }));
    });
  };

  // The token that opened the page is not to stay in its address.
  read();
  const made = query().toString();
  history.replaceState(null, "", made ? `?${made}` : location.pathname);
  chosen();
  ask();
})();
