import { join } from 'node:path'
import t from 'tap'
import { readAgents } from '../../src/agents/file/loader.js'
import { Dictionary } from '../../src/speech/dictionary.js'
import { DecoderSet } from '../../src/speech/decoder-set.js'
import { loadFlite } from '../../src/speech/flite.js'
import { offlineSpeech } from '../../src/backends/embedded/offline-speech.js'
import { spokenForm, unspokenIn } from '../../src/speech/spoken/spoken-form.js'
import { hostedAgents } from '../../src/gateway/agents/hosted-agents.js'
import { loadConfig } from '../../src/config/load-config.js'

/** A whole agent without a mistake. */
const GOOD = `version: 1
name: NAME
backend: embedded
instructions: Be brief.
tools:
  - name: lookup
    description: Looks up.
    parameters: { properties: { number: { type: string }, who: { type: string } }, required: [number, who] }
    bind: { who: '{{call.from}}' }
    http: { url: 'https://shop.example.com/orders', query: { number: '{{args.number}}', who: '{{args.who}}' } }
    result: { fields: { status: status } }
escalation: { numbers: ['+254720000010'] }
stages: { ask: { instructions: Ask., tools: [lookup], final: true } }
offline:
  version: 1
  words: { pikipiki: P IH K IY P IH K IY }
  maps:
    status: { sent: has been sent }
  intents:
    where: { phrases: ['where is my (order | pikipiki)', 'track <order>'] }
    bye: { phrases: [goodbye] }
    human: { phrases: [agent] }
  slots:
    order: { type: digits, min: 4, max: 4, known: [found.status] }
  on: { human: to-human, bye: end }
  missed: to-human
  start: greet
  states:
    greet:
      steps:
        - say: '{{greeting | default:Hello}}'
        - listen: { slots: [order], on: { where: ask, order: tell } }
    ask:
      steps:
        - say: Which number?
        - listen: { slots: [order], on: { order: tell } }
    tell:
      stage: ask
      steps:
        - start: { tool: lookup, args: { number: '{{slots.order}}' }, save: found }
        - await: found
        - say: 'It {{found.status | map:status}}.'
          when: { exists: found.status }
        - goto: greet
    end:
      steps:
        - call: { tool: end_call, failed: waits }
        - stop: true
    waits:
      steps:
        - listen: {}
    to-human:
      steps:
        - set: { reason: The caller wants a human. }
        - call: { tool: escalate_to_human, args: { reason: '{{reason}}' }, failed: greet }
        - stop: true
`

/** The line of `GOOD` that begins with a text, counted from 1. */
const lineOf = (begins: string): number => GOOD.split('\n').findIndex((line) => line.trim().startsWith(begins)) + 1

/** As many phrases as one list takes, each as long as it may be. */
const many = (word: string): string =>
  `[${Array.from({ length: 100 }, () => `${word} `.repeat(300 / (word.length + 1)).trim()).join(', ')}]`

/** Wrong setting, the part that it replaces, the beginning of the reported line, and the report. */
const MISTAKES: Readonly<Record<string, readonly [right: string, wrong: string, line: string, what: RegExp]>> = {
  // Words that the recogniser does not know.
  'a phrase with a word outside the dictionary': [
    '[goodbye]',
    '[kwaheri]',
    'bye:',
    /^offline\.intents\.bye\.phrases\[0\] has the word kwaheri, which the recogniser's dictionary lacks; spell it as English does, or give its sounds under offline\.words$/,
  ],
  'a misspelt word of the dialogue': [
    'order | pikipiki',
    'order | pikipik',
    'where:',
    /has the word pikipik, .*; did you mean pikipiki\?/,
  ],
  'unknown phones': [
    'K IY P IH K IY',
    'K IY P IH K QQ',
    'words:',
    /^offline\.words\.pikipiki has an unknown sound QQ; allowed: AA, AE, .*ZH$/,
  ],
  // Tools that a caller's secret, or a stage, keeps from the dialogue.
  'a tool that gets a PIN, called by the dialogue': [
    'escalation: {',
    'digits: [{ name: pin, description: x, say: x, length: 4, sensitive: true, tool: lookup, argument: number }]\nescalation: {',
    '- start: {',
    /^offline\.states\.tell\.steps\[0\]\.start\.tool is lookup, which gets sensitive digits: call collect_digits, which calls it$/,
  ],
  'a tool outside the stage of its state': [
    'tools: [lookup]',
    'tools: []',
    '- start: {',
    /^offline\.states\.tell\.steps\[0\]\.start\.tool is lookup, which the stage ask of this state does not offer/,
  ],
  'one word for two digits': [
    'words: {',
    'digits: [one, one, two, three, four, five, six, seven, eight, nine]\n  words: {',
    'words:',
    /^offline\.digits\[1\] is one, the word for another digit too$/,
  ],
  'a surrounding word outside the dictionary': [
    'words: {',
    'around: { before: [hujambo], after: [] }\n  words: {',
    'words:',
    /^offline\.around\.before\[0\] has the word hujambo/,
  ],
  'a phrase with wrong syntax': [
    "'track <order>'",
    "'track (order'",
    'where:',
    /^offline\.intents\.where\.phrases\[1\] a missing \) in/,
  ],
  'figures in a phrase': ['[goodbye]', "['order 4127']", 'bye:', /digits and signs must be written as words/],
  'a phrase that matches silence': ['[goodbye]', "['[please]']", 'bye:', /may match no words at all/],
  'more phrases than a grammar may have': [
    'bye: { phrases: [goodbye] }\n    human: { phrases: [agent] }\n  slots:\n    order: {',
    `bye: { phrases: ${many('goodbye')} }\n    human: { phrases: ${many('agent')} }\n  slots:\n    order: { phrases: ${many('number')},`,
    '- listen: { slots: [order], on: { where',
    /^offline\.states\.greet\.steps\[1\]\.listen has phrases that make a grammar of \d+ characters; at most 65536 are allowed$/,
  ],
  // Names that do not exist.
  'an unknown tool': [
    'tool: lookup,',
    'tool: lookupp,',
    '- start:',
    /^offline\.states\.tell\.steps\[0\]\.start\.tool is lookupp, but the agent has no tool of that name; did you mean lookup\? allowed: lookup, go_to_stage, escalate_to_human, request_callback, end_call, do_not_call$/,
  ],
  'a human step without escalation': [
    "escalation: { numbers: ['+254720000010'] }",
    '# nobody',
    '- call: { tool: escalate',
    /is escalate_to_human, but the agent has no tool of that name; allowed: lookup, go_to_stage, end_call, do_not_call$/,
  ],
  'an unknown argument of a tool': [
    'args: { number:',
    'args: { numbre: x, number:',
    '- start:',
    /^offline\.states\.tell\.steps\[0\]\.start\.args\.numbre is not an argument of lookup; did you mean number\? allowed: number, who$/,
  ],
  'a missing argument of a tool': [
    "args: { number: '{{slots.order}}' }",
    'args: {}',
    '- start:',
    /is lookup, which needs number under args$/,
  ],
  'an unknown state': [
    'where: ask',
    'where: askk',
    '- listen: { slots: [order], on: { where',
    /^offline\.states\.greet\.steps\[1\]\.listen\.on\.where there is no state named askk; did you mean ask\? allowed: greet, ask, tell, end, waits, to-human$/,
  ],
  'an unknown intent': [
    'on: { human:',
    'on: { humann:',
    'on: { human',
    /there is no intent or slot named humann; did you mean human\?/,
  ],
  'an unknown slot': [
    'track <order>',
    'track <ordr>',
    'where:',
    /there is no slot named ordr; did you mean order\? allowed: order$/,
  ],
  'an unknown map': [
    'map:status',
    'map:statos',
    "- say: 'It",
    /^offline\.states\.tell\.steps\[2\]\.say names an unknown map statos; did you mean status\? allowed: status$/,
  ],
  'an unknown filter': [
    '| map:',
    '| mapp:',
    "- say: 'It",
    /has an unknown filter mapp; did you mean map\? allowed: map, list, count, spell, default, day, clocks$/,
  ],
  // Values that are never set.
  'an unknown value': [
    '{{greeting |',
    '{{greating |',
    "- say: '{{greeting",
    /^offline\.states\.greet\.steps\[0\]\.say reads greating; no value has the name greating: did you mean greeting\? allowed: greeting, humans, part, heard, failure, caller, slots, visits, found, /,
  ],
  'an unknown field of a tool': [
    'exists: found.status',
    'exists: found.statsu',
    'when:',
    /^offline\.states\.tell\.steps\[2\]\.when\.exists reads found\.statsu; found has no field statsu: did you mean status\? allowed: status$/,
  ],
  'an unknown slot in a text': [
    '{{slots.order}}',
    '{{slots.ordr}}',
    '- start:',
    /reads slots\.ordr; slots has no field ordr: did you mean order\? allowed: order$/,
  ],
  'an unknown state in visits': [
    'when: { exists: found.status }',
    'when: { atLeast: [visits.tel, 2] }',
    'when:',
    /reads visits\.tel; visits has no field tel: did you mean tell\?/,
  ],
  'a wrong placeholder': [
    '{{reason}}',
    '{{the reason}}',
    '- call: { tool: escalate',
    /has \{\{the reason\}\}; a placeholder is \{\{path\}\} or/,
  ],
  'unbalanced braces': [
    '{{greeting | default:Hello}}',
    '{{greeting | default:Hello}',
    "- say: '{{greeting",
    /has \{\{ or \}\} without its partner$/,
  ],
  'an awaited answer without its question': [
    'await: found',
    'await: foundd',
    '- await',
    /waits for foundd, but no start step has that name; did you mean found\? allowed: found$/,
  ],
  'an unknown value in a condition': [
    'known: [found.status]',
    'known: [mine.status]',
    'order: {',
    /^offline\.slots\.order\.known\[0\] reads mine\.status; no value has the name mine/,
  ],
  'an unknown value in forget': [
    'set: { reason: The',
    'forget: [resaon]\n        - set: { reason: The',
    '- set:',
    /forgets resaon; no value has the name resaon: did you mean reason\?/,
  ],
  'a reserved name': [
    'save: found',
    'save: failure',
    '- start:',
    /keeps a value as failure, a name of the dialogue itself; heard, part, failure, slots, visits are taken$/,
  ],
  // Definitions that nothing uses.
  'an unused save': [
    'failed: waits }',
    'failed: waits, save: ended }',
    '- call: { tool: end_call',
    /^offline\.states\.end\.steps\[0\]\.call\.save keeps ended, which nothing reads$/,
  ],
  'an unused set': [
    'set: { reason:',
    'set: { extra: 1, reason:',
    '- set:',
    /^offline\.states\.to-human\.steps\[0\]\.set\.extra keeps extra, which nothing reads$/,
  ],
  'an intent without a listening step': [
    'bye: { phrases: [goodbye] }',
    'bye: { phrases: [goodbye] }\n    thanks: { phrases: [thanks] }',
    'human: { p',
    /^offline\.intents\.thanks is heard nowhere: no on names it$/,
  ],
  'a slot without a listening step': [
    'slots:\n    order',
    'slots:\n    day: { type: digits, min: 1, max: 2 }\n    order',
    'order: {',
    /^offline\.slots\.day is heard nowhere: no listen has it among its slots$/,
  ],
  'an unused map': [
    'maps:\n',
    'maps:\n    fix: { cable: the cable }\n',
    'status: {',
    /^offline\.maps\.fix is used by no text; a text uses it as \{\{path \| map:fix\}\}$/,
  ],
  // Transitions that lead nowhere.
  'an unreachable state': [
    '    end:\n',
    '    lost:\n      steps: [{ goto: greet }]\n    end:\n',
    'end:',
    /^offline\.states\.lost is never reached: nothing leads to it$/,
  ],
  'a state without an end': [
    '        - goto: greet\n',
    '',
    "- say: 'It",
    /^offline\.states\.tell\.steps\[2\] the last step of a state is listen, stop, or a goto without a condition$/,
  ],
  'steps that never run': [
    '- goto: greet\n',
    '- goto: greet\n        - say: Hello.\n        - stop: true\n',
    '- goto',
    /^offline\.states\.tell\.steps\[3\] the steps after this one never run$/,
  ],
  'a cycle of states': [
    '    end:\n',
    '    a: { steps: [{ say: One. }, { goto: b }] }\n    b: { steps: [{ goto: a }] }\n    end:\n',
    'end:',
    /^offline\.states\.a\.steps\[1\]\.goto runs in a circle without waiting: a, b, a$/,
  ],
  'a slot with a target but no listening step': [
    'listen: { slots: [order], on: { order: tell } }',
    'listen: { on: { order: tell } }',
    '- listen: { slots: [order], on: { order',
    /^offline\.states\.ask\.steps\[1\]\.listen\.on\.order never happens: the slot order is not among this listen's slots$/,
  ],
  '@return in a state without aside': [
    'on: { where: ask,',
    "on: { where: '@return',",
    'greet:',
    /^offline\.states\.greet has @return, which leads back only from a state with aside: true$/,
  ],
  'a listen step without events': [
    'on: { human: to-human, bye: end }',
    'on: {}',
    '- listen: {}',
    /^offline\.states\.waits\.steps\[0\]\.listen listens for nothing: neither its own on/,
  ],
  'a state that is never left': [
    '    end:\n',
    "    loop: { steps: [{ listen: { on: { human: loop, bye: '@repeat' }, missed: '@repeat' } }] }\n    end:\n",
    'end:',
    /^offline\.states\.loop is never left: every event in it, and missed, leads back to it$/,
  ],
  'a stop that leaves the caller in silence': [
    '- call: { tool: end_call, failed: waits }',
    '- say: Goodbye.',
    '- stop: true',
    /^offline\.states\.end\.steps\[1\] stops and leaves the caller in silence: nothing before it calls end_call, escalate_to_human, hand_over$/,
  ],
  // Text that the voice cannot say.
  'a prompt of punctuation only': [
    'say: Which number?',
    'say: "…"',
    '- say: Which',
    /^offline\.states\.ask\.steps\[0\]\.say has "…", which the voice cannot say; it speaks words in the letters a-z, and numbers$/,
  ],
  'a prompt in letters without a voice': [
    'say: Which number?',
    'say: Which номер?',
    '- say: Which',
    /has "номер\?", which the voice cannot say/,
  ],
  'a map text that cannot be spoken': [
    'sent: has been sent',
    'sent: "✓"',
    'status: {',
    /^offline\.maps\.status\.sent has "✓", which the voice cannot say/,
  ],
}

const name = (index: number): string => `agent-${index}`
const config = (agentsDir: string): Parameters<typeof hostedAgents>[0] => ({ ...loadConfig({}, null), agentsDir })

t.test('each mistake in an offline dialogue is located', async (t) => {
  const rows = Object.entries(MISTAKES)
  const files = Object.fromEntries(
    rows.map(([, [right, wrong]], i) => {
      t.ok(GOOD.includes(right), `${right} occurs in the good file`)
      return [`${name(i)}.yaml`, GOOD.replace('NAME', name(i)).replace(right, wrong)]
    }),
  )
  const dir = t.testdir({ ...files, 'good.yaml': GOOD.replace('NAME', 'good') })
  const read = new Map((await readAgents(dir, {}, offlineSpeech)).map((one) => [one.file, one]))
  t.equal(read.get(join(dir, 'good.yaml'))?.ok, true, 'without a mistake it loads')
  for (const [i, [mistake, [, , line, what]]] of rows.entries()) {
    const one = read.get(join(dir, `${name(i)}.yaml`))
    const faults = one?.ok === false ? one.faults : []
    const told = faults.find((fault) => what.test(fault.what))
    t.ok(told, `${mistake}: ${faults.map((fault) => fault.what).join('\n') || 'no fault was reported'}`)
    // An inserted line comes before the line at its place.
    t.ok(
      told !== undefined && Math.abs(told.line - lineOf(line)) <= 1,
      `${mistake}: line ${told?.line ?? 'none'}, near ${lineOf(line)}`,
    )
  }
})

t.test('all mistakes of a file are reported at once', async (t) => {
  let text = GOOD.replace('NAME', 'worst').replace('instructions:', 'instuctions:')
  const chosen = [
    'a phrase with a word outside the dictionary',
    'an unknown value',
    'an unknown state',
    'an unused save',
    'a prompt of punctuation only',
  ] as const
  for (const mistake of chosen) {
    const [right, wrong] = MISTAKES[mistake] ?? ['', '']
    text = text.replace(right, wrong)
  }
  const dir = t.testdir({ 'worst.yaml': text })
  const error = await hostedAgents(config(dir), {}).then(
    () => null,
    (thrown: unknown) => thrown as Error,
  )
  const lines = error?.message.split('\n') ?? []
  t.match(error, { code: 'AGENT_INVALID' })
  t.ok(
    lines.every((line) => line.startsWith(join(dir, 'worst.yaml:'))),
    'file, line and column of each',
  )
  t.ok(lines.some((line) => line.includes('did you mean instructions?')))
  for (const mistake of chosen) {
    const [, , , what] = MISTAKES[mistake] ?? []
    t.ok(
      lines.some((line) => what?.test(line.replace(/^.*?:\d+:\d+: /, ''))),
      `${mistake}: ${error?.message ?? 'no fault was reported'}`,
    )
  }
})

t.test('the check and the recogniser know exactly the same words', async (t) => {
  const dictionary = await Dictionary.load()
  const set = new DecoderSet(1)
  const recognises = async (word: string): Promise<boolean> => {
    const request = set.request(`#JSGF V1.0;\ngrammar g;\npublic <said> = ${word};\n`, [])
    return request.lease.then(
      (lease) => {
        lease.release()
        return true
      },
      () => false,
    )
  }
  for (const word of [
    'goodbye',
    "o'clock",
    'wifi',
    'zebra',
    'a',
    'zywicki',
    "'bout",
    'kwaheri',
    'pikipiki',
    'goodby',
    'goodbyee',
    'zz',
    'gd',
    'x-ray',
    'agent',
  ]) {
    t.equal(dictionary.has(word), await recognises(word), word)
  }
})

t.test('the check finds exactly the text that has no sound', async (t) => {
  const flite = await loadFlite()
  const sounds = (text: string): boolean =>
    flite.speak(spokenForm(text), 'slt').pcm.some((sample) => Math.abs(sample) > 1000)
  for (const text of ['hello', '4127', 'Ngũgĩ', '€5', 'café', '…', '你好', 'ß', '½', '✓', 'Привет']) {
    t.equal(unspokenIn(text) === null, sounds(text), text)
  }
})
