// The chat page: holds the conversation, asks the hub for two replies, and sends the judgment of the pair that they make.
(function () {
  "use strict";
  const clientside = (window.dash_clientside = window.dash_clientside || {});
  const set = (id, props) => window.dash_clientside.set_props(id, props);
  const KEYS = { 1: "A", 2: "B", 3: "tie", 4: "neither" };
  const element = (type, props) => ({ type: type, namespace: "dash_html_components", props: props });

  const state = { models: [], model: null, name: "", facts: "", message: "", example: "", turns: [], pair: null, judged: null, busy: false, notice: "", shownAt: 0, asked: 0 };
  const onPage = () => document.getElementById("chat-pair") !== null;

  function bubble(turn) {
    return element("Div", { className: "bubble " + turn.role, children: [
      element("Span", { className: "bubble-name", children: turn.role === "user" ? "You" : "Chatbot" }),
      element("P", { children: turn.content }),
    ] });
  }

  function draw() {
    if (!onPage()) return;
    const pair = state.pair;
    const both = pair && pair.replies.length > 1;
    set("chat-conversation", { children: state.turns.map(bubble) });
    set("chat-pair", { className: pair ? "" : "hidden" });
    if (pair) {
      ["A", "B"].forEach((side, i) => {
        set("chat-" + side, { children: pair.replies[i] === undefined ? "There is no second reply: this server draws one at a time." : pair.replies[i] });
        set("chat-opinion-" + side, { children: state.judged ? opinion(pair.opinions[i]) : "" });
      });
      ["A", "B", "tie", "neither"].forEach((choice) => set("chat-" + choice + "-button", { disabled: !pair.pair_id || Boolean(state.judged) || state.busy }));
      set("chat-verdict", { children: verdict(pair, both) });
    }
    set("chat-send", { disabled: state.busy, children: state.busy ? "Waiting …" : "Send" });
    set("chat-notice", { children: state.notice, className: "notice" + (state.notice ? "" : " hidden") });
  }

  function opinion(found) {
    return found ? "Reward " + found.reward.toFixed(2) + " ± " + found.deviation.toFixed(2) + " logits" : "";
  }

  // The rewards come after the judgment, which they would lead.
  function verdict(pair, both) {
    if (!both) return "";
    if (!pair.pair_id) return "Nothing to choose: both replies are the same, or were compared before.";
    if (!state.judged) return state.name ? "What the reward model thinks is shown once you have chosen." : "Type your name above to choose.";
    const chosen = "Your choice is logged. ";
    if (pair.first_is_better === null) return chosen + "The reward model has not learnt from a judgment yet.";
    return chosen + "By the reward model A is better with a probability of " + Math.round(100 * pair.first_is_better) + " %.";
  }

  async function call(path, body) {
    const answer = await fetch(window.hubPath(path), body === undefined ? undefined : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    const found = await answer.json();
    if (!answer.ok) throw new Error(found.error.message);
    return found;
  }

  async function look() {
    try {
      state.models = (await call("/v1/chat/models")).models;
      state.notice = "";
      if (!state.models.some((each) => each.name === state.model)) state.model = state.models.length ? state.models[0].name : null;
      set("chat-model", { data: state.models.map((each) => ({ value: each.name, label: each.name })), value: state.model });
    } catch (problem) {
      state.notice = problem.message;
    }
    draw();
  }

  // The reply that goes on in the conversation: the chosen one, or the first.
  function keep() {
    if (!state.pair) return;
    state.turns.push({ role: "assistant", content: state.pair.replies[state.judged === "B" ? 1 : 0] });
    state.pair = state.judged = null;
  }

  async function send() {
    const text = state.message.trim();
    if (!text || state.busy || !state.model) return;
    keep();
    state.turns.push({ role: "user", content: text });
    state.busy = true;
    state.notice = state.message = "";
    set("chat-message", { value: "" });
    draw();
    const asked = ++state.asked;
    const facts = state.facts.trim() ? [{ role: "system", content: state.facts.trim() }] : [];
    try {
      const pair = await call("/v1/chat", { model: state.model, messages: facts.concat(state.turns) });
      if (asked !== state.asked) return; // a new conversation was begun meanwhile
      state.pair = pair;
      state.judged = null;
      state.shownAt = performance.now();
    } catch (problem) {
      if (asked !== state.asked) return;
      state.turns.pop();
      state.message = text;
      set("chat-message", { value: text });
      state.notice = problem.message;
    }
    state.busy = false;
    draw();
  }

  async function judge(choice) {
    const pair = state.pair;
    if (!pair || !pair.pair_id || state.judged || state.busy) return;
    if (!state.name) {
      state.notice = "Type your name above first: a judgment is somebody's.";
      return draw();
    }
    state.busy = true;
    draw();
    try {
      const who = document.getElementById("chat-name").disabled ? {} : { recruiter: state.name }; // who has signed in is known
      await call("/v1/judgments", { pair_id: pair.pair_id, ...who, choice: choice, shown_first: "A", seconds: Math.round(performance.now() - state.shownAt) / 1000 });
      state.judged = choice;
      state.notice = "";
    } catch (problem) {
      state.notice = "The judgment was not taken: " + problem.message;
    }
    state.busy = false;
    draw();
  }

  document.addEventListener("keydown", function (event) {
    if (!onPage() || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (event.target.id === "chat-message" && event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      state.message = event.target.value;
      send();
      return;
    }
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
    if (KEYS[event.key]) {
      event.preventDefault();
      judge(KEYS[event.key]);
    }
  });

  clientside.chat = {
    act: function () {
      const by = window.dash_clientside.callback_context.triggered[0];
      const name = by && by.value ? by.prop_id.replace(/^chat-/, "").replace(/(-button)?\.n_clicks$/, "") : "";
      if (name === "send") send();
      else if (name === "example") set("chat-facts", { value: state.example });
      else if (name === "new") {
        Object.assign(state, { turns: [], pair: null, judged: null, busy: false, notice: "", asked: state.asked + 1 });
        draw();
      } else if (name) judge(name);
      return window.dash_clientside.no_update;
    },

    note: function (model, name, facts, message, example) {
      if (!state.models.length || !model) look();
      Object.assign(state, { model: model || state.model, name: (name || "").trim(), facts: facts || "", message: message || "", example: example });
      if (state.turns.length || state.pair) draw();
      const known = state.models.find((each) => each.name === state.model);
      return known ? known.about : "";
    },
  };
})();
