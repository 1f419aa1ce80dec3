// The rating page: holds the next pairs and renews their leases while somebody is there, shows one, sends each judgment in the order given
// until the hub has accepted it.
(function () {
  "use strict";
  const clientside = (window.dash_clientside = window.dash_clientside || {});
  const set = (id, props) => window.dash_clientside.set_props(id, props);
  const KEYS = { 1: "first", a: "first", 2: "second", b: "second", 3: "tie", t: "tie", 4: "neither", n: "neither", 5: "skip", s: "skip", u: "undo" };
  const AHEAD = 5; // fetch more when fewer are held
  const LEASE = 30000; // milliseconds that the hub keeps a pair for this page
  const RENEW = 10000;
  const IDLE = 300000; // without a key, the pointer or scrolling nobody is taken to be there: others get the pairs

  const desk = {
    name: "", pairs: [], judged: [], seen: new Set(), outbox: [], sending: false, fetching: false,
    shownAt: 0, strength: "", reason: "", toRate: null, passed: 0, shown: undefined, notice: "", asked: false,
    activeAt: Date.now(), leasedAt: 0,
  };

  const onPage = () => document.getElementById("rate-pair") !== null;
  const element = (type, props) => ({ type: type, namespace: "dash_html_components", props: props });

  function bubble(message) {
    const names = { user: "Candidate", assistant: "Chatbot" };
    if (message.role === "system")
      return element("Details", { className: "facts-block", children: [
        element("Summary", { children: "What the chatbot was told" }),
        element("P", { children: message.content }),
      ] });
    return element("Div", { className: "bubble " + message.role, children: [
      element("Span", { className: "bubble-name", children: names[message.role] }),
      element("P", { children: message.content }),
    ] });
  }

  function draw() {
    if (!onPage()) return;
    const pair = desk.name ? desk.pairs[0] : undefined;
    set("rate-pair", { className: "rate-pair" + (pair ? "" : " hidden") });
    set("rate-empty", { className: "empty" + (pair ? " hidden" : ""), children: pair ? [] : nothing() });
    if (pair) {
      const other = pair.shown_first === "A" ? "b" : "a";
      set("rate-conversation", { children: pair.prompt.map(bubble) });
      set("rate-first", { children: pair[pair.shown_first.toLowerCase()] });
      set("rate-second", { children: pair[other] });
      if (desk.shown !== pair) desk.shownAt = performance.now();
    }
    desk.shown = pair;
    set("rate-undo-button", { disabled: desk.judged.length === 0 });
    set("rate-progress", { children: progress() });
    set("rate-notice", { children: desk.notice, className: "notice" + (desk.notice ? "" : " hidden") });
  }

  function nothing() {
    if (!desk.name)
      return [element("Span", { className: "icon icon-rate" }), element("H3", { children: "Who is rating?" }), element("P", { children: "Type your name above to see the first pair." })];
    if (!desk.asked || waiting() !== 0)
      return [element("Span", { className: "icon icon-rate" }), element("H3", { children: "Looking for pairs …" }), element("P", { children: "" })];
    const others = desk.passed ? "You have seen every pair that is open; " + desk.passed + " wait for somebody else. " : "";
    return [element("Span", { className: "icon icon-rate" }), element("H3", { children: "Nothing left to rate" }),
      element("P", { children: others + "The next pair appears here by itself as soon as a candidate has chatted. You can leave this page open." })];
  }

  // Open pairs less those that this person has judged or skipped: what the queue has for them. Null: not known yet.
  function waiting() {
    return desk.toRate === null ? null : Math.max(0, desk.toRate - desk.passed);
  }

  function progress() {
    const parts = [];
    if (desk.judged.length) parts.push(desk.judged.length + " judged");
    if (waiting() !== null) parts.push(waiting() + " waiting");
    if (desk.outbox.length > 2) parts.push(desk.outbox.length + " not sent yet");
    return parts.join(" · ");
  }

  async function fetchMore() {
    if (desk.fetching || !desk.name || !onPage()) return;
    desk.fetching = true;
    const name = desk.name;
    try {
      const answer = await fetch("/v1/queue?limit=12&recruiter=" + encodeURIComponent(name));
      const body = await answer.json();
      if (!answer.ok) throw new Error(body.error.message);
      if (name === desk.name) {
        const fresh = body.pairs.filter((pair) => !desk.seen.has(pair.pair_id));
        fresh.forEach((pair) => desk.seen.add(pair.pair_id));
        const idle = desk.pairs.length === 0;
        desk.pairs.push(...fresh);
        desk.passed = body.passed;
        desk.asked = true;
        if (idle) desk.leasedAt = Date.now();
        desk.fetching = false;
        if (idle) draw();
      } else {
        release(name, body.pairs.map((pair) => pair.pair_id)); // the name went on
      }
    } catch (problem) {
      desk.notice = "No pairs could be fetched: " + problem.message;
      draw();
    } finally {
      desk.fetching = false;
    }
  }

  // Pairs that somebody else holds or has judged by now are let go; the one on screen only when nobody was there to judge it.
  async function renew() {
    const name = desk.name;
    const away = Date.now() - desk.leasedAt > LEASE;
    const ids = leased();
    desk.leasedAt = Date.now();
    if (!ids.length) return;
    let body;
    try {
      const answer = await fetch("/v1/queue/renew", held(name, ids));
      if (!answer.ok) return;
      body = await answer.json();
    } catch (_unreachable) {
      return; // a pair whose lease ran out stays here as long as nobody else has judged it
    }
    if (name !== desk.name) return;
    const lost = new Set(ids.filter((id) => !body.held.includes(id)));
    if (desk.shown && !(away && body.judged.includes(desk.shown.pair_id))) lost.delete(desk.shown.pair_id);
    const kept = (pair) => pair.again || !lost.has(pair.pair_id);
    desk.pairs.filter((pair) => !kept(pair)).forEach((pair) => desk.seen.delete(pair.pair_id)); // the queue may give them again
    desk.pairs = desk.pairs.filter(kept);
    desk.passed = body.passed;
    if (desk.pairs[0] !== desk.shown) draw();
    else note();
  }

  // Undone pairs are judged already; there is no lease to renew.
  const leased = () => desk.pairs.filter((pair) => !pair.again).map((pair) => pair.pair_id);
  const held = (name, ids) => ({
    method: "POST", headers: { "Content-Type": "application/json" }, keepalive: true, body: JSON.stringify({ recruiter: name, pair_ids: ids }),
  });

  function release(name, ids) {
    if (ids.length) fetch("/v1/queue/release", held(name, ids)).catch(() => undefined); // they are free in half a minute anyway
  }

  window.addEventListener("pagehide", () => release(desk.name, leased()));

  setInterval(function () {
    if (!onPage() || !desk.name || typing) return;
    const present = document.visibilityState === "visible" && Date.now() - desk.activeAt < IDLE;
    if (!desk.pairs.length && waiting()) fetchMore();
    else if (present && Date.now() - desk.leasedAt >= RENEW) renew();
  }, 1000);

  ["keydown", "pointerdown", "pointermove", "wheel", "scroll", "visibilitychange"].forEach((what) =>
    document.addEventListener(what, () => { desk.activeAt = Date.now(); }, { capture: true, passive: true }));

  async function send() {
    if (desk.sending) return;
    desk.sending = true;
    while (desk.outbox.length) {
      const body = desk.outbox[0];
      try {
        const answer = await fetch("/v1/judgments", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
        if (answer.status >= 500) throw new Error("the hub answered " + answer.status);
        if (!answer.ok) {
          const refused = await answer.json();
          desk.notice = "A judgment was refused: " + refused.error.message;
          desk.seen.delete(body.pair_id); // it still waits, and will be given again
        } else {
          desk.notice = "";
        }
        desk.outbox.shift();
      } catch (problem) {
        desk.notice = desk.outbox.length + " judgments are not sent yet (" + problem.message + "); trying again.";
        note();
        await new Promise((wait) => setTimeout(wait, 2000));
      }
      note();
    }
    desk.sending = false;
  }

  function note() {
    if (!onPage()) return;
    set("rate-progress", { children: progress() });
    set("rate-notice", { children: desk.notice, className: "notice" + (desk.notice ? "" : " hidden") });
  }

  function post(pair, choice, extra) {
    desk.outbox.push(Object.assign({ pair_id: pair.pair_id, recruiter: desk.name, choice: choice, shown_first: pair.shown_first }, extra));
    send();
  }

  function act(action) {
    if (!desk.name || !onPage()) return;
    if (action === "undo") {
      const last = desk.judged.pop();
      if (!last) return;
      post(last.pair, "skip", {}); // the later of two judgments by one recruiter holds, and a skip teaches nothing
      last.pair.again = true;
      desk.pairs.unshift(last.pair);
      draw();
      return;
    }
    const pair = desk.pairs.shift();
    if (!pair) return;
    const other = pair.shown_first === "A" ? "B" : "A";
    const choice = { first: pair.shown_first, second: other }[action] || action;
    const extra = { seconds: Math.round(performance.now() - desk.shownAt) / 1000 };
    if (desk.strength && (choice === "A" || choice === "B")) extra.strength = Number(desk.strength);
    if (desk.reason.trim()) extra.reason = desk.reason.trim();
    post(pair, choice, extra);
    if (choice === "skip" && !pair.again) desk.passed += 1;
    desk.judged.push({ pair: pair });
    desk.strength = desk.reason = "";
    set("rate-strength", { value: "" });
    set("rate-reason", { value: "" });
    draw();
    if (desk.pairs.length < AHEAD) fetchMore();
  }

  document.addEventListener("keydown", function (event) {
    if (!onPage() || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const inText = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) && !/^(checkbox|radio)$/.test(event.target.type || "");
    if (inText) {
      if (event.key === "Escape" || (event.key === "Enter" && event.target.tagName === "INPUT")) event.target.blur();
      return;
    }
    const action = KEYS[event.key.toLowerCase()];
    if (action) {
      event.preventDefault();
      act(action);
    }
  });

  window.addEventListener("beforeunload", function (event) {
    if (desk.outbox.length) event.preventDefault();
  });

  let typing = null;
  clientside.rate = {
    act: function () {
      const by = window.dash_clientside.callback_context.triggered[0];
      if (by && by.value) {
        act(by.prop_id.replace(/^rate-/, "").replace(/-button\.n_clicks$/, ""));
        if (document.activeElement) document.activeElement.blur();
      }
      return window.dash_clientside.no_update;
    },

    remember: function (typed, _written, kept) {
      const no = window.dash_clientside.no_update;
      const asked = window.dash_clientside.callback_context.triggered.map((t) => t.prop_id);
      const byTyping = asked.length === 1 && asked[0] === "rate-name.value";
      const name = byTyping ? typed : typed || kept || "";
      if (name.trim() !== desk.name) {
        release(desk.name, leased());
        Object.assign(desk, { name: name.trim(), pairs: [], judged: [], seen: new Set(), passed: 0, asked: false, notice: "" });
        clearTimeout(typing);
        typing = setTimeout(() => { typing = null; fetchMore(); }, byTyping ? 500 : 0); // a name is typed letter by letter: no leases for its beginnings
      }
      draw();
      return [name === typed ? no : name, name === kept ? no : name];
    },

    note: function (strength, reason) {
      desk.strength = strength || "";
      desk.reason = reason || "";
      return window.dash_clientside.no_update;
    },

    news: function (status) {
      if (status) desk.toRate = status.waiting.to_rate;
      if (desk.pairs.length === 0 && !typing) fetchMore();
      if (desk.shown && document.getElementById("rate-first").textContent) note();
      else draw();
      return window.dash_clientside.no_update;
    },
  };
})();
