// The rating page: prefetches pairs and renews their leases while the recruiter is active, shows one pair at a time, and sends judgments in
// order, with retries until the hub has accepted each.
(function () {
  "use strict";
  const clientside = (window.dash_clientside = window.dash_clientside || {});
  const set = (id, props) => window.dash_clientside.set_props(id, props);
  const KEYS = { 1: "first", a: "first", 2: "second", b: "second", 3: "tie", t: "tie", 4: "neither", n: "neither", 5: "skip", s: "skip", u: "undo" };
  const FETCH_BELOW = 5; // fetch more when fewer pairs are held
  const LEASE = 30000; // milliseconds, as in dashboard/actions/rating_queue.py
  const RENEW = 10000;
  const IDLE = 300000; // milliseconds without key, pointer or scroll events after which leases are no longer renewed

  const state = {
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
        element("Summary", { children: "Instructions to the chatbot" }),
        element("P", { children: message.content }),
      ] });
    return element("Div", { className: "bubble " + message.role, children: [
      element("Span", { className: "bubble-name", children: names[message.role] }),
      element("P", { children: message.content }),
    ] });
  }

  function draw() {
    if (!onPage()) return;
    const pair = state.name ? state.pairs[0] : undefined;
    set("rate-pair", { className: "rate-pair" + (pair ? "" : " hidden") });
    set("rate-empty", { className: "empty" + (pair ? " hidden" : ""), children: pair ? [] : emptyState() });
    if (pair) {
      const other = pair.shown_first === "A" ? "b" : "a";
      set("rate-conversation", { children: pair.prompt.map(bubble) });
      set("rate-first", { children: pair[pair.shown_first.toLowerCase()] });
      set("rate-second", { children: pair[other] });
      if (state.shown !== pair) state.shownAt = performance.now();
    }
    state.shown = pair;
    set("rate-undo-button", { disabled: state.judged.length === 0 });
    set("rate-progress", { children: progress() });
    set("rate-notice", { children: state.notice, className: "notice" + (state.notice ? "" : " hidden") });
  }

  function emptyState() {
    if (!state.name)
      return [element("Span", { className: "icon icon-rate" }), element("H3", { children: "Who is rating?" }), element("P", { children: "Type your name above to see the first pair." })];
    if (!state.asked || waiting() !== 0)
      return [element("Span", { className: "icon icon-rate" }), element("H3", { children: "Looking for pairs …" }), element("P", { children: "" })];
    const others = state.passed ? "You have seen every pair that is open; " + state.passed + " wait for other recruiters. " : "";
    return [element("Span", { className: "icon icon-rate" }), element("H3", { children: "Nothing left to rate" }),
      element("P", { children: others + "The next pair appears here by itself as soon as a candidate has chatted. You can leave this page open." })];
  }

  // Pairs that the queue has for this recruiter: open ones without those already judged or skipped. Null: not known yet.
  function waiting() {
    return state.toRate === null ? null : Math.max(0, state.toRate - state.passed);
  }

  function progress() {
    const parts = [];
    if (state.judged.length) parts.push(state.judged.length + " judged");
    if (waiting() !== null) parts.push(waiting() + " waiting");
    if (state.outbox.length > 2) parts.push(state.outbox.length + " not sent yet");
    return parts.join(" · ");
  }

  async function fetchMore() {
    if (state.fetching || !state.name || !onPage()) return;
    state.fetching = true;
    const name = state.name;
    try {
      const answer = await fetch(window.hubPath("/v1/queue?limit=12&recruiter=" + encodeURIComponent(name)));
      const body = await answer.json();
      if (!answer.ok) throw new Error(body.error.message);
      if (name === state.name) {
        const fresh = body.pairs.filter((pair) => !state.seen.has(pair.pair_id));
        fresh.forEach((pair) => state.seen.add(pair.pair_id));
        const idle = state.pairs.length === 0;
        state.pairs.push(...fresh);
        state.passed = body.passed;
        state.asked = true;
        if (idle) state.leasedAt = Date.now();
        state.fetching = false;
        if (idle) draw();
      } else {
        release(name, body.pairs.map((pair) => pair.pair_id)); // the name has changed meanwhile
      }
    } catch (problem) {
      state.notice = "No pairs could be fetched: " + problem.message;
      draw();
    } finally {
      state.fetching = false;
    }
  }

  // Drops pairs that others hold or have judged by now; the one on screen only if its lease had expired and others have judged it.
  async function renew() {
    const name = state.name;
    const away = Date.now() - state.leasedAt > LEASE;
    const ids = leased();
    state.leasedAt = Date.now();
    if (!ids.length) return;
    let body;
    try {
      const answer = await fetch(window.hubPath("/v1/queue/renew"), leaseRequest(name, ids));
      if (!answer.ok) return;
      body = await answer.json();
    } catch (_unreachable) {
      return; // a pair with an expired lease stays until somebody else has judged it
    }
    if (name !== state.name) return;
    const lost = new Set(ids.filter((id) => !body.held.includes(id)));
    if (state.shown && !(away && body.judged.includes(state.shown.pair_id))) lost.delete(state.shown.pair_id);
    const stays = (pair) => pair.again || !lost.has(pair.pair_id);
    state.pairs.filter((pair) => !stays(pair)).forEach((pair) => state.seen.delete(pair.pair_id)); // the queue may give them again
    state.pairs = state.pairs.filter(stays);
    state.passed = body.passed;
    if (state.pairs[0] !== state.shown) draw();
    else drawNotice();
  }

  // Undone pairs have been judged and have no lease.
  const leased = () => state.pairs.filter((pair) => !pair.again).map((pair) => pair.pair_id);
  const leaseRequest = (name, ids) => ({
    method: "POST", headers: { "Content-Type": "application/json" }, keepalive: true, body: JSON.stringify({ recruiter: name, pair_ids: ids }),
  });

  function release(name, ids) {
    if (ids.length) fetch(window.hubPath("/v1/queue/release"), leaseRequest(name, ids)).catch(() => undefined); // the leases expire in half a minute anyway
  }

  window.addEventListener("pagehide", () => release(state.name, leased()));

  setInterval(function () {
    if (!onPage() || !state.name || typing) return;
    const present = document.visibilityState === "visible" && Date.now() - state.activeAt < IDLE;
    if (!state.pairs.length && waiting()) fetchMore();
    else if (present && Date.now() - state.leasedAt >= RENEW) renew();
  }, 1000);

  ["keydown", "pointerdown", "pointermove", "wheel", "scroll", "visibilitychange"].forEach((what) =>
    document.addEventListener(what, () => { state.activeAt = Date.now(); }, { capture: true, passive: true }));

  async function send() {
    if (state.sending) return;
    state.sending = true;
    while (state.outbox.length) {
      const body = state.outbox[0];
      try {
        const answer = await fetch(window.hubPath("/v1/judgments"), { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
        if (answer.status >= 500) throw new Error("the hub answered " + answer.status);
        if (!answer.ok) {
          const refused = await answer.json();
          state.notice = "A judgment was refused: " + refused.error.message;
          state.seen.delete(body.pair_id); // it is still open: the queue may return it again
        } else {
          state.notice = "";
        }
        state.outbox.shift();
      } catch (problem) {
        state.notice = state.outbox.length + " judgments are not sent yet (" + problem.message + "); trying again.";
        drawNotice();
        await new Promise((wait) => setTimeout(wait, 2000));
      }
      drawNotice();
    }
    state.sending = false;
  }

  function drawNotice() {
    if (!onPage()) return;
    set("rate-progress", { children: progress() });
    set("rate-notice", { children: state.notice, className: "notice" + (state.notice ? "" : " hidden") });
  }

  function post(pair, choice, extra) {
    state.outbox.push(Object.assign({ pair_id: pair.pair_id, recruiter: state.name, choice: choice, shown_first: pair.shown_first }, extra));
    send();
  }

  function act(action) {
    if (!state.name || !onPage()) return;
    if (action === "undo") {
      const last = state.judged.pop();
      if (!last) return;
      post(last.pair, "skip", {}); // a later judgment by the same recruiter replaces the earlier one, and a skip is not learnt from
      last.pair.again = true;
      state.pairs.unshift(last.pair);
      draw();
      return;
    }
    const pair = state.pairs.shift();
    if (!pair) return;
    const other = pair.shown_first === "A" ? "B" : "A";
    const choice = { first: pair.shown_first, second: other }[action] || action;
    const extra = { seconds: Math.round(performance.now() - state.shownAt) / 1000 };
    if (state.strength && (choice === "A" || choice === "B")) extra.strength = Number(state.strength);
    if (state.reason.trim()) extra.reason = state.reason.trim();
    post(pair, choice, extra);
    if (choice === "skip" && !pair.again) state.passed += 1;
    state.judged.push({ pair: pair });
    state.strength = state.reason = "";
    set("rate-strength", { value: "" });
    set("rate-reason", { value: "" });
    draw();
    if (state.pairs.length < FETCH_BELOW) fetchMore();
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
    if (state.outbox.length) event.preventDefault();
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
      if (name.trim() !== state.name) {
        release(state.name, leased());
        Object.assign(state, { name: name.trim(), pairs: [], judged: [], seen: new Set(), passed: 0, asked: false, notice: "" });
        clearTimeout(typing);
        typing = setTimeout(() => { typing = null; fetchMore(); }, byTyping ? 500 : 0); // wait for the end of typing: no leases for prefixes of the name
      }
      draw();
      return [name === typed ? no : name, name === kept ? no : name];
    },

    note: function (strength, reason) {
      state.strength = strength || "";
      state.reason = reason || "";
      return window.dash_clientside.no_update;
    },

    news: function (status) {
      if (status) state.toRate = status.waiting.to_rate;
      if (state.pairs.length === 0 && !typing) fetchMore();
      if (state.shown && document.getElementById("rate-first").textContent) drawNotice();
      else draw();
      return window.dash_clientside.no_update;
    },
  };
})();
