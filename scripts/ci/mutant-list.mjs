/** Folder of the tables and states that a call's features share. */
const RESOURCES = 'src/call/resources'

/** Faults by file: the text that is there once, and what stands in its place. */
const FAULTS = {
  'grants.ts': [
    [
      "keypad: ['consent', 'digits', 'call-back', 'ring-back']",
      "keypad: ['ring-back', 'call-back', 'digits', 'consent']",
    ],
    ['this.#held |= this.#bit(reason)', 'this.#held = this.#bit(reason)'],
    ['this.#held &= ~this.#bit(reason)', 'this.#held = 0'],
    ['this.#marked &= this.#held', ''],
    ['this.#held & ~this.#marked & this.#bit(reason)', 'this.#held & this.#bit(reason)'],
    ['this.#order.find((reason) => this.has(reason))', 'this.#order.findLast((reason) => this.has(reason))'],
  ],
  'floor.ts': [
    ["['digits', 'consent', 'caller', 'greeting']", '[]'],
    ['if (free) this.#speech.close()', ''],
    ['this.#grants.giveBack(reason) && !this.closed', 'this.#grants.giveBack(reason)'],
    ["this.discard()\n    this.open('greeting')", "this.open('greeting')"],
    ["this.endGreeting()\n    this.open('caller')", 'this.endGreeting()'],
    ["this.endGreeting()\n    this.open('caller')", "this.open('caller')"],
  ],
  'input.ts': [
    ['return speaking || (unknown && this.#core.nowMs < lastVoicedMs + WORDS_LATE_MS)', 'return speaking'],
    ['this.#smallTalk = isSmallTalk(text)', ''],
    ['this.#partialAtMs = this.#core.nowMs', ''],
    ['return askedIn(this.heardOfAgent', "return askedIn(''"],
  ],
  'keypad.ts': [
    ["privateKeys !== undefined && !(callBack === 'asks' && core.newStream !== null)", 'false'],
    ["if (this.#guarded && privateKeys === 'pressed') this.makePrivate(true)", ''],
    ['&& this.grants.isNewer(reason)', ''],
    ["if (on && this.#dialogue === 'open') return", ''],
    ['if (on) this.grants.mark()', ''],
    ["if (on) this.#core.in('private-keys', KEYS_PRIVATE_MS)\n    else", 'if (!on)'],
    ["this.#core.out({ type: 'private', on })", ''],
    ["this.#core.in('private', ms)", ''],
    ['this.#private = on', ''],
    ['this.#guarded = on', ''],
  ],
  'line.ts': [
    ["if (to !== 'waiting' && to !== 'live') this.#interrupt(to)", ''],
    ['this.#core.in(name, leftMs)', 'undefined'],
    ["this.#floor.open('line')", ''],
    ["to === 'escalating' || to === 'holding' || to === 'bridged' || to === 'closing'", "to === 'closing'"],
    ["this.#floor.close('next-agent')", ''],
    ["this.#interrupt('handed-over')", ''],
    ["return this.#state === 'closing' && this.#revocable", "return this.#state === 'closing'"],
    ["return this.#state === 'closing' && this.#revocable", 'return false'],
    ["if (this.#model.dead) return 'backend-failed'", ''],
    ['this.#core.clear(name)', ''],
    ['this.#promised = agent', ''],
    ['this.#inAmd = on', ''],
  ],
  'model.ts': [
    ['return !this.#dead && !this.#closed', 'return true'],
    ['if (this.#closed) return', ''],
    ['if (respond) this.#wait.forAnswer()', ''],
    ['this.#dead = true', ''],
    ['this.#ready = true', ''],
    ['this.#spoke = true', ''],
    ['this.#activeAtMs = this.#core.nowMs', ''],
  ],
  'person.ts': [
    ['confirm(): void {\n    this.#unconfirmed = null', 'confirm(): void {'],
    ['this.#known = known\n    this.#open = false', 'this.#known = known'],
    ['this.#greeted = greeted', ''],
  ],
  'stream.ts': [
    ['this.#closedAtMs ??= atMs', ''],
    ['this.#openedAtMs = atMs', 'this.#openedAtMs = 0'],
  ],
  'wait.ts': [
    ["this.#core.in('answer', this.#core.options.answerTimeoutMs)", ''],
    ["this.#core.clear('answer')", ''],
    ["this.#core.tell({ type: 'caller-acts' })", ''],
    ['return this.#core.features.busy', 'return false'],
  ],
  'effects.ts': [
    ['new Set(core.options.effects?.tools)', 'new Set()'],
    ['if (running.length === 0) return null', 'return null'],
    ['return this.pending.waiting.length > 0', 'return false'],
    ['core.resume?.waits ?? []', '[]'],
  ],
}

export const MUTANTS = Object.entries(FAULTS).flatMap(([file, faults]) =>
  faults.map(([from, to]) => ({ file: `${RESOURCES}/${file}`, from, to })),
)
