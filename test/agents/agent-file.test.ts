import { pbkdf2 } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { mkdir, rename, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { NO_ASSETS } from '../../src/agents/file/assets.js'
import type { AgentAssets } from '../../src/agents/file/assets.js'
import type { BackendCapabilities } from '../../src/backends/backend.js'
import type { CallStart } from '../../src/workers/shared/call-messages.js'
import { sessionOptions } from '../../src/workers/worker/call-setup.js'
import { AgentWatch, type FolderAgent } from '../../src/agents/file/agent-watch.js'
import { agentWith, variablesReadBy } from '../../src/agents/tools/call-variables.js'
import type { AgentDefinition } from '../../src/agents/file/definition.js'
import { agentJsonSchema, agentSchema } from '../../src/agents/file/definition.js'
import { agentVersion } from '../../src/agents/file/agent-view.js'
import type { FolderVersion } from '../../src/agents/file/agent-view.js'
import { EditWatch } from '../../src/agents/file/edit-watch.js'
import { agentNames, loadAgents, loadUsableAgents } from '../../src/agents/file/loader.js'
import { offeredTools } from '../../src/agents/tools/offered-tools.js'
import { untranslated } from '../../src/agents/file/phrases.js'
import { ToolRunner } from '../../src/agents/tools/tool-runner.js'
import { textIn } from '../../src/call/spoken/localized-text.js'
import { packageRoot } from '../../src/config/package-root.js'
import { GatewayError } from '../../src/core/errors.js'
import { HttpClient } from '../../src/http/http-client.js'
import { defineAgent, defineTool } from '../../src/index.js'
import { loadText } from '../support/agent-text.js'
import { until } from '../support/until.js'
import { contextOf } from './support-line.js'

const ENV = { SHOP_API_URL: 'http://127.0.0.1:8090' }

const root = packageRoot()

/** The faults of an agent file, as the operator reads them. */
async function faultsOf(text: string, env: Readonly<Record<string, string | undefined>> = ENV): Promise<string[]> {
  const loaded = await loadText(text, env)
  return Array.isArray(loaded) ? loaded : []
}

const minimal = (more = ''): string => `version: 1\nname: a\ninstructions: Be brief.\n${more}`
const withTool = (tool: string): string =>
  minimal(`tools:\n  - name: look_up\n    description: Looks up.\n${tool.replace(/^/gm, '    ')}`)

async function folder(t: Test, files: Record<string, string | Buffer>): Promise<string> {
  const dir = t.testdir()
  await mkdir(dir, { recursive: true })
  for (const [name, text] of Object.entries(files)) await writeFile(join(dir, name), text)
  return dir
}

t.test('the shipped agents load', async (t) => {
  const { agents } = await loadAgents(join(root, 'agents'), ENV)
  const agent = agents.get('order-status')
  t.match(agent?.stream, { name: 'order-status', track: 'inbound_track', outputSamplingRate: 16000 })
  t.same(agent?.escalation?.numbers, ['+254720000010'])
  t.same(
    agent?.tools.map((tool) => tool.name),
    ['lookup_order', 'reschedule_order', 'search_catalogue'],
  )
})

t.test('three lines are a valid agent with valid defaults', async (t) => {
  const agent = await loadText(minimal(), {})
  t.match(agent, { backend: 'auto', voice: { embedded: 'slt' }, greeting: null, escalation: null, tools: [] })
  t.same(agentSchema.parse(agent), agent)
})

t.test('phrases without a text in some language are named', async (t) => {
  const agentOf = (more: object) => agentSchema.parse({ version: 1, name: 'a', instructions: 'x', ...more })
  const agent = agentOf({
    languages: ['en-KE', 'sw'],
    goodbye: { en: 'Goodbye.', sw: 'Kwaheri.' },
    tryAgain: 'Again?',
    apology: { en: 'Sorry.' },
    silence: { prompts: [{ en: 'Hello?', sw: 'Hujambo?' }, 'Still there?'] },
  })
  t.same([...untranslated(agent)], [['sw', ['apology', 'tryAgain', 'silence.prompts.1']]])
  const others = agentOf({
    languages: ['en', 'sw'],
    greeting: { en: 'Hello.' },
    say: { greeting: 'Hello. Karibu.', busy: 'Too many.', fallback: { sw: 'Samahani.' } },
    afterCall: { say: { en: 'Bye.' } },
    verification: {
      account: { http: { url: 'https://shop.example', query: { phone: '{{call.from}}' } } },
      questions: [
        { id: 'a', ask: 'Your number?', field: 'a' },
        { id: 'b', ask: { en: 'Your name?', sw: 'Jina lako?' }, field: 'b' },
      ],
      identity: { account: 'id' },
    },
  })
  t.same(
    [...untranslated(others)],
    [
      ['en', ['say.fallback']],
      ['sw', ['greeting', 'say.busy', 'afterCall.say', 'verification.questions.0.ask']],
    ],
    'say, afterCall and verification are checked; say.greeting may be one text',
  )
  t.same(
    ['sw-TZ', 'en', 'fr'].map((language) => textIn(agent.goodbye, language)),
    ['Kwaheri.', 'Goodbye.', 'Goodbye.'],
    'another language hears the first text',
  )
  const offline = {
    version: 1,
    intents: { bye: { phrases: ['bye'] } },
    on: { bye: 'end' },
    missed: 'end',
    start: 'ask',
    states: {
      ask: { steps: [{ say: '{{greeting}}' }, { listen: { retry: { en: 'Again?', sw: 'Tena?' } } }] },
      end: { steps: [{ say: 'Bye, {{name}}.' }, { stop: true }] },
    },
  }
  const passages = [
    { title: 'Hours', also: [], text: { en: 'Nine.', sw: 'Tatu.' } },
    { title: 'Shops', also: [], text: 'In town.' },
  ]
  t.same(
    [...untranslated(agentOf({ languages: ['en', 'sw'], offline }), passages)],
    [['sw', ['offline.states.end.steps.0.say', 'knowledge "Shops"']]],
    'dialogue and knowledge are checked too',
  )
  const swahili = agentOf({ language: 'sw' })
  t.same(swahili.languages, ['sw'])
  t.equal(textIn(swahili.goodbye, 'sw'), 'Asante kwa kupiga simu. Kwaheri.', 'default phrases are Swahili too')
  t.same([...untranslated(swahili)], [])
  t.match([...untranslated(agentOf({ language: 'fr' }))], [['fr', ['apology', 'tryAgain']]])
  t.match(await faultsOf(minimal('languages: [en, en-KE]\n')), [/languages names a language twice/])
  t.match(await faultsOf(minimal('languages: [en]\nlanguage: sw\n')), [/language is one of languages; leave it out/])
  t.match(await faultsOf(minimal('goodbye: { english: Bye. }\n')), [/goodbye.*language/])
  t.match(await faultsOf(minimal('goodbye: {}\n')), [/goodbye has no text/])
})

/** Where an agent's file takes a phrase, by the published schema: `tools.*.waits.say`. */
function pathsOfPhrases(node: unknown, path = ''): string[] {
  if (typeof node !== 'object' || node === null) return []
  const {
    anyOf = [],
    properties = {},
    items,
  } = node as {
    readonly anyOf?: readonly { readonly type?: string; readonly maxLength?: number }[]
    readonly properties?: Readonly<Record<string, unknown>>
    readonly items?: unknown
  }
  const isPhrase =
    anyOf.some(({ type, maxLength }) => type === 'string' && maxLength === 1000) &&
    anyOf.some(({ type }) => type === 'object')
  return isPhrase
    ? [path]
    : [
        ...anyOf.flatMap((one) => pathsOfPhrases(one, path)),
        ...Object.entries(properties).flatMap(([key, one]) =>
          pathsOfPhrases(one, path === '' ? key : `${path}.${key}`),
        ),
        ...pathsOfPhrases(items, `${path}.*`),
      ]
}

t.test('every phrase of an agent is checked for missing languages', (t) => {
  const said = { en: 'x' }
  const waits = { for: '60s', say: said, still: said, onTimeout: said }
  const agent = agentSchema.parse({
    version: 1,
    name: 'a',
    instructions: 'x',
    languages: ['en', 'sw'],
    ...{ greeting: said, goodbye: said, tryAgain: said, apology: said },
    say: { greeting: said, fallback: said, busy: said, hold: said },
    silence: { firstPrompt: said, otherVoice: said, prompts: [said] },
    limits: { maxDurationText: said },
    afterEffect: { done: said, failed: said, uncertain: said },
    fillers: { phrases: [said] },
    recovery: { callback: true, text: said, callbackGreeting: said },
    tools: [
      {
        name: 'pay',
        description: 'x',
        http: { method: 'POST', url: 'https://shop.example', body: { to: '{{continue.url}}' } },
        waits,
      },
    ],
    digits: [{ name: 'pin', description: 'x', length: 4, say: said, again: said, confirm: { en: '{{digits}}?' } }],
    verification: {
      account: { http: { url: 'https://shop.example', query: { phone: '{{call.from}}' } } },
      questions: [{ id: 'a', ask: said, field: 'a' }],
      required: 1,
      identity: { account: 'id' },
    },
    escalation: {
      numbers: ['+254720000010'],
      ...{
        announce: said,
        failed: said,
        closed: said,
        offer: said,
        offerAccepted: said,
        offerRefused: said,
        silentLine: said,
        whisper: said,
      },
      message: Object.fromEntries(['name', 'about', 'number', 'noted', 'failed', 'only'].map((key) => [key, said])),
    },
    callbacks: { greeting: said, humanFirst: true, humanGreeting: said },
    recording: { enabled: true, consent: said, notice: said, refusal: { text: said } },
    outbound: { greeting: said, amd: { message: said } },
    afterCall: { say: said },
  })
  const recorded = untranslated(agent).get('sw') ?? []
  const noticed = untranslated({ ...agent, recording: { ...agent.recording, enabled: false } }).get('sw') ?? []
  const named = [...recorded, ...noticed].map((path) => path.replace(/\.\d+/g, '.*'))
  const all = pathsOfPhrases(agentJsonSchema()).filter((path) => !path.startsWith('offline.'))
  t.same([...new Set(named)].sort(), [...new Set(all)].sort())
  t.ok(all.length > 35)
  t.end()
})

t.test('a misspelt key is reported with the key meant', async (t) => {
  const [fault, ...rest] = await faultsOf(minimal('bargeIn:\n  comitMs: 200\n'))
  t.match(
    fault,
    /^a\.yaml:5:3: bargeIn\.comitMs is not a key of bargeIn; did you mean commitMs\?; allowed: onsetMs, commitMs, /,
  )
  t.same(rest, [])
  t.match(
    (await faultsOf(minimal('greting: Hello\n')))[0],
    /^a\.yaml:4:1: greting is not a key of an agent; did you mean greeting\?/,
  )
})

t.test('a wrong value is reported with the values allowed', async (t) => {
  const cases: [string, RegExp][] = [
    [
      'stream:\n  outputSamplingRate: 44100\n',
      /^a\.yaml:5:23: stream\.outputSamplingRate must be 8000, 16000 or auto$/,
    ],
    [
      'stream:\n  track: inbound\n',
      /5:10: stream\.track is inbound; did you mean inbound_track\?; allowed: inbound_track, outbound_track, both/,
    ],
    ['stream:\n  statusEvents: [stream-started, started]\n', /5:34: stream\.statusEvents\[1\] is started/],
    ['limits:\n  maxDurationS: 5\n', /5:17: limits\.maxDurationS is 5; at least 30 is needed$/],
    ['limits:\n  maxDurationS: ten\n', /limits\.maxDurationS is a text; expected a number$/],
    ['silence:\n', /silence is empty; expected a map$/],
    ['voice:\n  embedded: marin\n', /voice\.embedded is marin; allowed: slt, rms, awb, kal$/],
    [
      'escalation:\n  numbers: [0720000010]\n',
      /escalation\.numbers\[0\] must be a number in E\.164 form that exists in its country, .*, in quotes, or \{\{business\.humans\}\}, or \{ number, hours \}$/,
    ],
    ...['"+2547200000100"', '"+25472000001"', '{ number: "+2547200000100" }'].map((human): [string, RegExp] => [
      `escalation:\n  numbers: [${human}]\n`,
      /escalation\.numbers\[0\](\.number)? must be a number .*that exists in its country/,
    ]),
    ['escalation:\n  numbers: ["0720000010"]\n', /escalation\.numbers\[0\] must be a number in E\.164 form/],
    ['bargeIn:\n  onsetMs: 250\n', /bargeIn\.commitMs/],
    ['greeting: ""\n', /greeting has 0 characters; at least 1 characters is needed$/],
  ]
  for (const [text, expected] of cases) t.match((await faultsOf(minimal(text))).join('\n'), expected)
})

t.test('all faults of a file are reported in line order', async (t) => {
  const faults = await faultsOf('version: 2\nname: Bad Name\nstream:\n  track: x\nlimits: 3\n')
  t.same(faults, [
    'a.yaml:1:1: instructions is missing; expected a text',
    'a.yaml:1:10: version is 2; must be 1, the only version of agent files that this gateway reads',
    'a.yaml:2:7: name must be 1 to 40 characters of a-z 0-9 -, beginning with a letter',
    'a.yaml:4:10: stream.track is x; allowed: inbound_track, outbound_track, both_tracks',
    'a.yaml:5:9: limits is the number 3; expected a map',
  ])
})

t.test('text that YAML cuts at a # is reported', async (t) => {
  /** Of an agent that is used all the same. */
  const warningsOf = async (text: string): Promise<string[]> => {
    const { agents, faults } = await loadUsableAgents(await folder(t, { 'a.yaml': minimal(text) }), ENV)
    t.ok(agents.has('a'), text)
    return faults.map(({ line, col, what }) => `a.yaml:${line}:${col}: ${what}`)
  }
  const cut = / ends before the #: .*; put the text in quotes, or put two spaces before a comment$/
  const cases: [string, string][] = [
    ['greeting: Press # to begin.\n', 'a.yaml:4:17: greeting'],
    ['greeting: { en: Hello, sw: Bonyeza }\ndescription: Line #5\n', 'a.yaml:5:19: description'],
    ['silence:\n  prompts:\n    - Press # now\n', 'a.yaml:6:13: silence.prompts[0]'],
    ['say:\n  fallback:\n    sw: Bonyeza # sasa\n', 'a.yaml:6:17: say.fallback.sw'],
    ['context:\n  facts: [Closed]\n  # a comment\ngreeting: Press\t# x\n', 'a.yaml:7:17: greeting'],
  ]
  for (const [text, place] of cases) {
    const faults = await warningsOf(text)
    t.same(faults.length, 1, text)
    t.match(faults[0], cut)
    t.equal(faults[0]?.slice(0, place.length), place)
  }
  for (const comment of [
    'greeting: Hello  # two spaces\n',
    'greeting: "Press # to begin." # quoted\n',
    'greeting: Press C# to begin\n',
    'maxCalls: 5 # a number\n',
    'backend: embedded # one of some names\nlanguage: sw # a tag\n',
    'context: { timeZone: Africa/Nairobi } # a zone\n',
    'greeting: # nothing yet\n  Hello\n',
  ])
    t.same(await warningsOf(comment), [], comment)
})

t.test('invalid YAML is reported at its position', async (t) => {
  t.match((await faultsOf('version: 1\nname: [a\n'))[0], /^a\.yaml:\d+:\d+: is not YAML: /)
  t.match((await faultsOf('version: 1\nname: a\nname: b\n'))[0], /^a\.yaml:3:1: is not YAML: .*unique/)
  t.match((await faultsOf(''))[0], /is empty/)
  t.match((await faultsOf('- 1\n'))[0], /the file is a list; expected a map/)
  t.match((await faultsOf(`${minimal()}---\n${minimal()}`))[0], /^a\.yaml:\d+:\d+: holds a second document/)
})

t.test('oversized, expanding and non-UTF-8 files are refused', async (t) => {
  const bomb = [
    'a: &a [x, x, x, x, x, x, x, x, x]',
    ...'bcdefgh'.split('').map((name, i) => {
      const previous = String.fromCharCode('a'.charCodeAt(0) + i)
      return `${name}: &${name} [${Array<string>(9).fill(`*${previous}`).join(', ')}]`
    }),
  ].join('\n')
  t.match((await faultsOf(bomb))[0], /aliases must not be nested/)
  t.match(
    (await faultsOf(`a: &a hello\nb: [${Array<string>(200).fill('*a').join(', ')}]`))[0],
    /an alias more than allowed/,
  )
  t.match((await faultsOf(`a: ${'['.repeat(60)}${']'.repeat(60)}`))[0], /nested too deeply/)
  t.match((await faultsOf(`a: ${'['.repeat(50_000)}${']'.repeat(50_000)}`))[0], /nested too deeply/)
  const dir = await folder(t, {
    'big.yaml': `# ${'x'.repeat(300_000)}\n${minimal()}`,
    'latin1.yaml': Buffer.from([0x61, 0x3a, 0xe9, 0x0a]),
  })
  await t.rejects(loadAgents(dir, {}), {
    code: 'AGENT_INVALID',
    message: /big\.yaml:1:1: has 3\d+ bytes; at most 262144[^]*latin1\.yaml:1:1: is not UTF-8/,
  })
})

t.test('a key named __proto__ changes nothing', async (t) => {
  const faults = await faultsOf(minimal('__proto__:\n  polluted: yes\n'))
  t.equal(faults.length, 1)
  t.match(faults[0], /^a\.yaml:4:1: __proto__ is not a key of an agent; allowed: /)
  t.notOk('polluted' in {})
})

t.test('wrong references between parts of a tool are reported', async (t) => {
  const url = 'http:\n  url: https://shop.example'
  const cases: [string, RegExp][] = [
    [
      `parameters:\n  properties:\n    id: {type: string}\n${url}/{{args.idd}}`,
      /tools\[0\]\.http\.url reads \{\{args\.idd\}\}, which is not an argument; arguments: id$/,
    ],
    [`${url}/{{call.secret}}`, /tools\[0\]\.http\.url has \{\{call\.secret\}\}; allowed are/],
    [`${url}/{{args.a`, /has \{\{ without \}\}, or \}\} without \{\{/],
    ['http:\n  url: "{{args.host}}/x"', /arguments may not choose the host/],
    ['http:\n  url: "https://{{args.host}}/x"', /arguments may not choose the host/],
    ['http:\n  url: "https://shop.example{{args.port}}/x"', /arguments may not choose the host/],
    ['http:\n  url: "https://user@evil.example/x"', /arguments may not choose the host/],
    ['http:\n  url: "file:///etc/passwd"', /must begin with http/],
    [`${url}/\n  headers: {Host: x}`, /tools\[0\]\.http\.headers\.Host is set by the gateway itself/],
    [`${url}/\n  body: {a: 1}`, /is not allowed with GET/],
    [`bind: {who: "{{call.from}}"}\n${url}/`, /tools\[0\]\.bind\.who is not an argument/],
    [
      `parameters:\n  properties:\n    id: {type: strnig}\n${url}/`,
      /properties\.id\.type is strnig; did you mean string\?/,
    ],
    [`parameters:\n  properties:\n    id: {type: string, pattern: "("}\n${url}/`, /is not a regular expression/],
    [
      `parameters:\n  properties: {}\n  required: [id]\n${url}/`,
      /required\[0\] id is not one of the properties: \(none\)/,
    ],
    [
      `${url}/{{env.NO_SUCH_URL}}`,
      /a\.yaml:\d+:\d+: tools\[0\]\.http\.url reads \{\{env\.NO_SUCH_URL\}\}, which AGENT_ENV does not list; listed: SHOP, UNSET$/,
    ],
    [
      `${url}/{{env.UNSET}}`,
      /a\.yaml:\d+:\d+: tools\[0\]\.http\.url needs the environment variable UNSET, which is not set$/,
    ],
    ['http:\n  url: "{{env.SHOP}}/x"', /the environment variable SHOP must hold an http\(s\) URL without query/],
  ]
  for (const [tool, expected] of cases)
    t.match((await faultsOf(withTool(tool), { SHOP: 'shop.example', UNSET: undefined })).join('\n'), expected)
  for (const taken of ['end_call', 'resume_conversation', 'set_speech_rate'])
    t.match(
      (
        await faultsOf(
          minimal(`tools:\n  - name: ${taken}\n    description: x\n    http: {url: "https://a.example"}\n`),
        )
      )[0],
      /tools\[0\]\.name is a tool of the gateway itself/,
      taken,
    )
  const twice = '  - name: a\n    description: x\n    http: {url: "https://a.example"}\n'
  t.match(
    (await faultsOf(minimal(`tools:\n${twice}${twice}`)))[0],
    /^a\.yaml:8:11: tools\[1\]\.name a is the name of an earlier tool/,
  )
})

t.test('stages must name existing tools, facts and stages', async (t) => {
  const stages = (rest: string): string =>
    minimal(
      `tools:\n  - {name: find, description: x, http: {url: "https://a.example"}}\n  - {name: pay, description: x, http: {url: "https://a.example"}}\n${rest}`,
    )
  t.same(
    await faultsOf(
      stages(`facts:
  order: {from: find.number}
stages:
  ask: {instructions: x, tools: [find], needs: [order], next: {pay: they agree, end: {on: {failures: 2}}}}
  pay: {instructions: x, tools: [pay], next: {ask: {when: x, needs: []}, end: {on: {tool: pay}}}}
  end: {instructions: x, final: true}
`),
    ),
    [],
  )
  t.match(
    await faultsOf(
      stages(`facts:
  order: {from: fnd}
stages:
  ask: {instructions: x, tools: [fid], needs: [oder], next: {pya: they agree, ask: x, end: {needs: []}}}
  end: {instructions: x, escalate: x}
  lost: {instructions: x, needs: [verified], language: fr}
`),
    ),
    [
      /facts\.order\.from\[0\] is fnd, which is not a tool of this agent; did you mean find\?/,
      /stages\.ask\.tools\[0\] is fid, which is not a tool of this agent; did you mean find\?/,
      /stages\.ask\.needs\[0\] is oder, which is not a fact of this agent; did you mean order\?/,
      /stages\.ask\.next\.pya leads to a stage that this agent does not have/,
      /stages\.ask\.next\.ask leads to its own stage/,
      /stages\.ask\.next\.end needs when, for the model, or on, for the gateway/,
      /stages\.end\.escalate needs a human, but the agent has no escalation section/,
      /stages\.lost has no way out: it needs next, or escalate, handoverTo or final: true/,
      /stages\.lost\.needs\[0\] is verified, which needs a verification section/,
      /stages\.lost\.language is fr; /,
    ],
  )
  t.match(
    await faultsOf(
      stages(`facts:
  order: {from: find.number}
stages:
  ask: {instructions: x, tools: [pay], needs: [order], next: {end: done}}
  end: {instructions: x, tools: [find], final: true}
  lost: {instructions: x, final: true}
`),
    ),
    [
      /stages\.ask\.needs\[0\] is order, which is not a result of a tool of this stage or an earlier stage$/,
      /stages\.lost is reached from no stage before it$/,
    ],
  )
  const KEYED = `verification:
  account: {http: {url: "https://a.example", query: {phone: "{{call.from}}"}}}
  questions: [{id: pin, ask: x, field: pin, kind: digits}]
  required: 1
  identity: {id: id}
digits: [{name: pin, description: x, say: x, length: 4, sensitive: true, tool: verify_caller, argument: answer}]
`
  for (const tool of ['verify_caller', 'collect_digits'])
    t.same(
      await faultsOf(
        stages(`${KEYED}stages:
  ask: {instructions: x, tools: [${tool}], needs: [verified], next: {end: done}}
  end: {instructions: x, final: true}
`),
      ),
      [],
      `${tool} verifies the caller`,
    )
  const BANK = `tools:
  - {name: check_pin, description: x, parameters: {properties: {pin: {type: string}}}, http: {url: "https://a.example"}}
digits: [{name: pin, description: x, say: x, length: 4, sensitive: true, tool: check_pin, argument: pin}]
facts:
  paid: {from: check_pin}
`
  const bank = (first: string): string =>
    `${BANK}stages:
  ask: {instructions: x, ${first}, next: {end: done}}
  end: {instructions: x, tools: [], final: true}
`
  t.same(
    await faultsOf(minimal(bank('tools: [check_pin], needs: [paid]'))),
    [],
    'the stage of the tool collects the PIN',
  )
  t.match(
    await faultsOf(minimal(bank('tools: []'))),
    [/digits\[0\] is never asked for: no stage has collect_digits or check_pin among its tools$/],
    'no other stage collects it',
  )
  t.match(await faultsOf(minimal('facts:\n  order: {}\n')), [/facts\.order needs from or ask/])
  const MAYA = 'stages:\n  a: {instructions: x, final: true, voice: {cascade: Maya}}\n'
  t.same(await faultsOf(stages(MAYA)), [], 'auto may be a cascade')
  t.match(await faultsOf(stages(`backend: openai\n${MAYA}`)), [
    /stages\.a\.voice has no effect: it names none of the backends of this agent \(openai\); allowed: cascade, embedded/,
  ])
  t.match(await faultsOf(stages('stages:\n  a: {instructions: x, final: true, voice: {openai: marin}}\n')), [
    /stages\.a\.voice\.openai is not a key of stages\.a\.voice; allowed: cascade, embedded$/,
  ])
})

t.test('claims must name existing tools, phrases and languages', async (t) => {
  const claims = (rest: string): string => minimal(`claims:\n  rules:\n${rest}`)
  t.match(await faultsOf(claims('    - tools: [end_cal]\n      phrases: {en: [goodbye]}\n')), [
    /^a\.yaml:6:15: claims\.rules\[0\]\.tools\[0\] is end_cal, which is not a tool of this agent; did you mean end_call\? allowed: end_call, do_not_call$/,
  ])
  t.match(
    await faultsOf(
      claims('    - tools: []\n      phrases:\n        en: ["a (b", "<have> done"]\n        fr: [fait]\n'),
    ),
    [
      /^a\.yaml:8:14: claims\.rules\[0\]\.phrases\.en\[0\] has a missing \) in "a \(b"$/,
      /^a\.yaml:8:22: claims\.rules\[0\]\.phrases\.en\[1\] has <have>, which no list of words is called, in/,
      /^a\.yaml:9:13: claims\.rules\[0\]\.phrases\.fr needs claims\.languages\.fr: only en and sw need none$/,
    ],
  )
  t.match(await faultsOf(minimal('claims:\n  corect: true\n  rules: []\n')), [
    /claims\.corect is not a key of claims; did you mean correct\?/,
    /claims\.rules has 0 entries; at least 1/,
  ])
  t.same(
    await faultsOf(
      minimal(
        'claims:\n  languages: {fr: {not: [pas]}}\n  rules:\n    - {tools: [end_call], phrases: {fr: ["j ai * fini"]}}\n',
      ),
    ),
    [],
  )
})

t.test('faults of all files of a folder are reported together', async (t) => {
  const dir = await folder(t, {
    '1.yaml': minimal(),
    '2.yml': minimal('backend: 3\n'),
    '3.yaml': minimal(),
    'notes.txt': 'not an agent',
  })
  const error = await loadAgents(dir, {}).then(
    () => null,
    (thrown: unknown) => thrown,
  )
  if (!(error instanceof GatewayError)) {
    t.fail('must be a GatewayError')
    return
  }
  t.equal(error.code, 'AGENT_INVALID')
  t.match(
    error.message,
    /2\.yml:4:10: backend must be the name of a backend, a list of up to 5 names, or a split\n.*3\.yaml:2:7: name a is already used by .*1\.yaml:2; names must be unique/,
  )

  const one = await loadAgents(await folder(t, { 'only.yaml': minimal() }), {})
  t.equal(one.defaultAgent, 'a')
})

t.test('empty and missing folders are reported', async (t) => {
  await t.rejects(loadAgents(t.testdir({}), {}), { code: 'AGENT_INVALID', message: /has no agent/ })
  await t.rejects(loadAgents(join(t.testdir({}), 'nowhere'), {}), {
    code: 'AGENT_INVALID',
    message: /cannot read the agents folder/,
  })
})

t.test("call variables are filled into the agent's texts and tools", (t) => {
  const agent = agentSchema.parse({
    version: 1,
    name: 'a',
    instructions: 'Remind {{call.variables.name}} of {{ call.variables.time }}.',
    greeting: { en: 'Hello {{call.variables.name}}, this is the clinic.', sw: 'Hujambo {{call.variables.name}}.' },
    tools: [
      {
        name: 'confirm',
        description: 'Confirms.',
        http: { method: 'POST', url: 'https://example.com/{{call.variables.row}}' },
      },
    ],
  })
  t.same([...variablesReadBy(agent)].sort(), ['name', 'row', 'time'])
  const bound = agentWith(agent, { name: 'Wanjiru', time: '09:30' })
  t.equal(bound.instructions, 'Remind Wanjiru of 09:30.')
  t.same(bound.greeting, { en: 'Hello Wanjiru, this is the clinic.', sw: 'Hujambo Wanjiru.' })
  t.same(bound.tools, agent.tools)
  t.match(
    agentWith(agent, {}).greeting,
    { en: 'Hello, this is the clinic.' },
    'without the variable the sentence is still complete',
  )
  const plain = agentSchema.parse({ version: 1, name: 'a', instructions: 'Be brief.' })
  t.equal(agentWith(plain, { name: 'x' }), plain)
  t.equal(agentWith(plain, {}, true), plain, 'an agent without outbound texts is unchanged')
  const caller = agentSchema.parse({
    ...{ version: 1, name: 'caller', instructions: 'Help.', greeting: 'Hello.', languages: ['en', 'sw'] },
    outbound: { greeting: 'Hello {{call.variables.name}}.', instructions: 'You called {{call.variables.name}}.' },
  })
  t.match(agentWith(caller, { name: 'Otieno', language: 'sw' }, true), {
    greeting: 'Hello Otieno.',
    instructions: 'Help.\n\nYou called Otieno.',
    languages: ['sw', 'en'],
  })
  t.match(agentWith(caller, {}), { greeting: 'Hello.', instructions: 'Help.', languages: ['en', 'sw'] })
  t.same([...variablesReadBy(caller)], ['name'], 'an order without them is refused')
  t.end()
})

const yaml = (name: string, greeting: string): string =>
  `version: 1\nname: ${name}\ninstructions: Be brief.\ngreeting: ${greeting}\n`

const canary = (greeting: string, more = ''): string => `${yaml('a', greeting)}canary: { percent: 10 }\n${more}`

t.test('a second file of an agent is its canary [1]', async (t) => {
  const dir = t.testdir({ 'a.yaml': yaml('a', 'One.'), 'a.next.yaml': canary('Two.') })
  const set = await loadAgents(dir, {})
  t.equal(set.agents.get('a')?.greeting, 'One.')
  t.match(set.canaries.get('a')?.agent, { greeting: 'Two.', canary: { percent: 10 } })
  t.equal(set.defaultAgent, 'a', 'it is the only agent of the folder')
  t.same(await agentNames(dir), ['a'])
  const version = ({ agents, assets }: typeof set): string =>
    agentVersion(agents.get('a') as AgentDefinition, assets.get('a') as AgentAssets)
  const { agent, assets } = set.canaries.get('a') as FolderVersion
  const [main, next] = [version(set), agentVersion(agent, assets)]
  t.not(next, main)
  const faults = async (files: Readonly<Record<string, string>>): Promise<string> => {
    const { faults: found, agents } = await loadUsableAgents(t.testdir({ 'b.yaml': yaml('b', 'Bee.'), ...files }), {})
    t.ok(agents.has('b'), 'other agents are loaded')
    return found.map(({ file, what }) => `${basename(file)}: ${what}`).join()
  }
  t.match(
    await faults({ 'a.next.yaml': canary('Two.') }),
    /^a\.next\.yaml: canary: this file is a second version of a, but this folder has no agent a /,
  )
  const two = { 'a.yaml': yaml('a', 'One.'), 'a.next.yaml': canary('Two.'), 'a.x.yaml': canary('Three.') }
  t.match(await faults(two), /^a\.x\.yaml: .*a\.next\.yaml:2 is already a canary of a;/)
  t.match(
    await faults({
      'a.yaml': yaml('a', 'One.'),
      'a.next.yaml': canary('Two.', 'maxCalls: 3\nretention: { recordsDays: 3 }\n'),
    }),
    /^a\.next\.yaml: canary: maxCalls, retention must be the same as in the agent itself,/,
  )
  t.match(
    await faults({ 'a.yaml': yaml('a', 'One.'), 'a.next.yaml': canary('Welcome to {{business.name}}.') }),
    /^a\.next\.yaml: canary: reads \{\{business\.name\}\}, which the agent itself does not/,
    'the facts of numbers were not checked for it',
  )
  const desk = 'escalation: { numbers: ["+254700000100"], strategies: [callback] }\n'
  t.match(
    await faults({
      'a.yaml': `${yaml('a', 'One.')}${desk}`,
      'a.next.yaml': canary('Two.', `${desk}callbacks: {}\n`),
    }),
    /^a\.next\.yaml: canary: callbacks must be the same as in the agent itself,/,
    'call backs follow the agent, not its canary',
  )
  t.match(
    await faults({
      'a.next.yaml': canary('Two.'),
      'c.yaml': `${yaml('c', 'See.')}handoverTo: { a: For orders. }\n`,
    }),
    /c\.yaml: hands over to a, which is not an agent of this folder/,
    'a canary without its agent takes no call',
  )
  t.equal((await loadAgents(t.testdir({ 'a.yaml': canary('Two.').replace(/^canary.*\n/m, '') }), {})).canaries.size, 0)
  t.equal(version(await loadAgents(t.testdirName, {})), next, 'it stays the same version when it becomes the agent')
})

t.test("an agent's version is a hash of its author's files", async (t) => {
  const [text, facts] = [
    'version: 1\nname: a\ninstructions: Help.\nknowledge: [facts.md]\n',
    '## Hours\n\nWe open at nine.\n',
  ]
  const load = async (yamlText: string, knowledge: string) => {
    const dir = mkdtempSync(join(tmpdir(), 'mkondo-version-'))
    t.teardown(() => rmSync(dir, { recursive: true }))
    writeFileSync(join(dir, 'a.yaml'), yamlText)
    writeFileSync(join(dir, 'facts.md'), knowledge)
    const set = await loadAgents(dir, {})
    return { agent: set.agents.get('a') as AgentDefinition, assets: set.assets.get('a') as AgentAssets }
  }
  const version = async (...files: [string, string]): Promise<string> => {
    const { agent, assets } = await load(...files)
    return agentVersion(agent, assets)
  }
  const first = await version(text, facts)
  t.equal(first, '5b47cf750e6c713d', 'a later build gives the same version')
  t.equal(await version(`# by us\nname: a\n${text.replace('name: a\n', '')}`, facts), first, 'order and comments')
  t.not(await version(text, facts.replace('nine', 'ten')), first, 'knowledge')
  t.not(await version(text.replace('Help', 'Assist'), facts), first, 'the file')
  const { agent, assets } = await load(text, facts)
  t.equal(agentVersion({ ...agent, maxCalls: 7 }, assets), first, 'a default of another build')
})

t.test('valid edits reach new calls; each is reported once', async (t) => {
  const dir = t.testdir({
    'a.yaml': yaml('a', 'One.'),
    'b.yaml': `${yaml('b', 'Bee.')}knowledge: [facts/b.md]\n`,
    facts: { 'b.md': '## X\nOld.\n' },
  })
  let agents: ReadonlyMap<string, FolderAgent> = new Map()
  const changes: string[] = []
  const faults: string[] = []
  const waiting: (() => void)[] = []
  const note =
    (list: string[]) =>
    (what: readonly string[] | string): void => {
      list.push(String(what))
      for (const wake of waiting.splice(0)) wake()
    }
  const refuse = new Map<string, string>()
  const watch = new AgentWatch({
    dir,
    env: {},
    speech: null,
    apply: (folder) => {
      agents = folder
      return refuse
    },
    isUsed: () => true,
    onChange: note(changes),
    onFault: note(faults),
  })
  t.teardown(() => watch.close())
  await watch.start()
  const next = (): Promise<void> =>
    new Promise((resolve) => {
      waiting.push(resolve)
    })

  let told = next()
  await writeFile(join(dir, 'a.yaml'), yaml('a', 'Two.'))
  await told
  t.same(changes.splice(0), ['a'])
  t.equal(agents.get('a')?.agent.greeting, 'Two.')

  told = next()
  await writeFile(join(dir, 'a.yaml'), `${yaml('a', 'Three.')}track: x\n`)
  await told
  t.equal(faults.length, 1)
  t.match(faults[0], /a\.yaml:5:1: track is not a key of an agent.*\(the version before stays\)$/s)
  t.equal(agents.get('a')?.agent.greeting, 'Two.', 'a broken edit changes nothing')

  told = next()
  const version = agents.get('b')?.assets.version
  await writeFile(join(dir, 'facts/b.md'), '## X\nNew.\n')
  await told
  t.same(changes.splice(0), ['b'], "a broken file does not delay another agent's knowledge")
  t.not(agents.get('b')?.assets.version, version)
  t.equal(agents.get('a')?.agent.greeting, 'Two.')
  t.equal(faults.length, 1, 'the same mistake is not reported again')

  told = next()
  refuse.set('a', 'backend openai has no key')
  await writeFile(join(dir, 'a.yaml'), yaml('a', 'Four.'))
  await told
  t.match(faults.at(-1), /a: backend openai has no key \(the version before stays\)/)
  t.same(changes, [])

  told = next()
  refuse.clear()
  await writeFile(join(dir, 'a.next.yaml'), canary('Next.'))
  await told
  t.same(changes.splice(0), ['a'])
  t.match(agents.get('a'), { agent: { greeting: 'Four.' }, canary: { agent: { greeting: 'Next.' } } })

  told = next()
  await writeFile(join(dir, 'a.yaml'), `${yaml('a', 'Five.')}retention: { recordsDays: 3 }\n`)
  await told
  t.same(changes.splice(0), ['a'])
  t.match(
    agents.get('a'),
    { agent: { greeting: 'Five.' }, canary: undefined },
    'the edit takes effect without its canary',
  )
  t.match(
    faults.at(-1),
    /canary: retention must be the same as in the agent itself, because they apply to all of its calls$/,
  )

  told = next()
  await writeFile(join(dir, 'a.yaml'), yaml('a', 'Four.'))
  await told
  t.match(agents.get('a'), { agent: { greeting: 'Four.' }, canary: { agent: { greeting: 'Next.' } } })
  changes.splice(0)

  told = next()
  await rm(join(dir, 'a.next.yaml'))
  await told
  t.same(changes.splice(0), ['a'])
  t.equal(agents.get('a')?.canary, undefined)

  told = next()
  await rm(join(dir, 'b.yaml'))
  await told
  t.ok(changes.join().includes('b'))
  t.notOk(agents.has('b'))
})

t.test('files deleted during an edit leave no watcher behind', async (t) => {
  const watched = (): number => process.getActiveResourcesInfo().filter((what) => what === 'FSEventWrap').length
  await until(() => watched() === 0, 5000, 'what others have watched to end')
  const files = ['a.yaml', 'b.yaml', 'c.yaml']
  const dir = await folder(t, Object.fromEntries(files.map((file) => [file, '1'])))
  const watch = new EditWatch({
    path: dir,
    depth: 1,
    read: () => Promise.resolve(),
    onError: (error) => t.fail(String(error)),
  })
  await watch.ready
  // The look at what was edited waits behind these, until the files are gone.
  const busy = Array.from({ length: 8 }, () => promisify(pbkdf2)('a', 'b', 30_000, 64, 'sha512'))
  for (const file of files) writeFileSync(join(dir, file), '2')
  for (let turns = 0; turns < 5; turns++) await new Promise((resolve) => setImmediate(resolve))
  const closed = watch.close()
  rmSync(dir, { recursive: true })
  await Promise.all([closed, ...busy])
  for (let looks = 0; looks < 20; looks++) await stat(root)
  t.equal(watched(), 0)
})

t.test('replacing the link of a mounted ConfigMap is an edit', async (t) => {
  const dir = t.testdir({ '..v1': { 'a.yaml': yaml('a', 'One.') }, '..v2': { 'a.yaml': yaml('a', 'Two.') } })
  await symlink('..v1', join(dir, '..data'))
  await symlink('..data/a.yaml', join(dir, 'a.yaml'))
  let told = (): void => undefined
  let greeting: string | null | undefined
  const watch = new AgentWatch({
    dir,
    env: {},
    speech: null,
    onFault: (what) => t.fail(what),
    onChange: () => told(),
    apply: (agents) => {
      greeting = agents.get('a')?.agent.greeting as string
      return new Map()
    },
    isUsed: () => true,
  })
  t.teardown(() => watch.close())
  await watch.start()
  const changed = new Promise<void>((resolve) => {
    told = resolve
  })
  await symlink('..v2', join(dir, '..next'))
  await rename(join(dir, '..next'), join(dir, '..data'))
  // As the kubelet does when the link has been turned.
  await rm(join(dir, '..v1'), { recursive: true })
  await changed
  t.equal(greeting, 'Two.')
})

async function folderWithTools(t: Test, files: Record<string, string>): Promise<string> {
  const dir = t.testdir({ tools: {} })
  for (const [name, text] of Object.entries(files)) {
    await mkdir(join(dir, name, '..'), { recursive: true })
    await writeFile(join(dir, name), text)
  }
  return dir
}

async function runnerOf(t: Test, dir: string, name = 'a'): Promise<ToolRunner> {
  const { agents, assets } = await loadAgents(dir, {})
  const agent = agents.get(name)
  const own = assets.get(name)
  if (agent === undefined || own === undefined) throw new Error('the agent must load')
  const client = new HttpClient()
  t.teardown(() => {
    client.close()
  })
  return ToolRunner.open(agent, own, {}, client)
}

const YAML = 'version: 1\nname: a\ninstructions: Be brief.\nmodules: [tools/quote.mjs]\n'
const QUOTE = `
export const quote = {
  name: 'quote', description: 'Quotes a price.',
  parameters: { properties: { units: { type: 'integer', minimum: 1 }, who: { type: 'string' } }, required: ['units'] },
  bind: { who: '{{call.from}}' },
  run: ({ units, who }, { callSid, identity }) => ({ kes: units * 250, who, callSid, identity }),
}
export const helper = () => 1
`

t.test('a code tool works in a YAML agent', async (t) => {
  const tools = await runnerOf(t, await folderWithTools(t, { 'a.yaml': YAML, 'tools/quote.mjs': QUOTE }))
  t.same(await tools.run('quote', { units: 3, who: 'somebody else' }, contextOf('+254700000001')), {
    ok: true,
    value: { kes: 750, who: '+254700000001', callSid: 'HD_000000000001', identity: null },
  })
  t.match(await tools.run('quote', { units: 'many' }, contextOf('+254700000001')), {
    ok: false,
    code: 'TOOL_ARGUMENTS',
  })
})

t.test('an agent in code has tools of both kinds', async (t) => {
  const dir = await folderWithTools(t, {
    'shop.mjs': `
    const hello = { name: 'hello', description: 'Says hello.', run: () => 'hello' }
    export default { version: 1, name: 'a', instructions: 'Be brief.', greeting: 'Hi.',
      tools: [hello, { name: 'look_up', description: 'x', http: { url: 'https://shop.example/x' } }] }
  `,
  })
  const { agents, assets } = await loadAgents(dir, {})
  const [agent, own] = [agents.get('a'), assets.get('a')]
  t.match(agent, { greeting: 'Hi.', tools: [{ name: 'look_up' }] })
  if (agent !== undefined && own !== undefined)
    t.same(
      offeredTools(agent, own).map(({ name }) => name),
      ['look_up', 'hello', 'set_speech_rate'],
    )
  t.match(await (await runnerOf(t, dir)).run('hello', {}, contextOf('')), { ok: true, value: 'hello' })
})

t.test("a code tool's error reaches the model without data", async (t) => {
  const dir = await folderWithTools(t, {
    'a.yaml': YAML,
    'tools/quote.mjs': `
    const tool = (name, run, more) => ({ name, description: 'x', run, timeoutMs: 100, ...more })
    export const a = tool('throws', () => { throw new Error('secret of +254700000001') })
    export const b = tool('hangs', () => new Promise(() => {}))
    export const c = tool('huge', () => 'x'.repeat(20000))
    export const d = tool('odd', () => () => 1)
    export const e = tool('nothing', () => undefined)
  `,
  })
  const tools = await runnerOf(t, dir)
  const run = (name: string): ReturnType<ToolRunner['run']> => tools.run(name, {}, contextOf('+254700000001'))
  const thrown = await run('throws')
  t.match(thrown, { ok: false, value: { error: 'the tool failed' } })
  t.notMatch(JSON.stringify(thrown), /secret|254/)
  t.match(await run('hangs'), { ok: false, code: 'TOOL_TIMEOUT' })
  t.match(await run('huge'), { ok: false, code: 'TOOL_RESPONSE' })
  t.match(await run('odd'), { ok: false, code: 'TOOL_RESPONSE' })
  t.same(await run('nothing'), { ok: true, value: null })
})

t.test("backend modules may lie beside the agent's file", async (t) => {
  for (const [names, exported] of [
    ["backend: 'module:./mine.mjs'", 'createBackend'],
    ["backends: { cascade: { stt: 'module:./mine.mjs' } }", 'createSpeechToText'],
    ["backends: { cascade: { llm: { service: 'module:./mine.mjs' } } }", 'createLanguageModel'],
    ["backends: { cascade: { tts: { service: 'module:./mine.mjs', options: { speaker: 4 } } } }", 'createTextToSpeech'],
  ] as const) {
    const dir = t.testdir({
      'a.yaml': `version: 1\nname: a\ninstructions: x\n${names}\n`,
      'mine.mjs': `export const ${exported} = () => ({})`,
    })
    const { agents } = await loadAgents(dir, {})
    t.match(JSON.stringify(agents.get('a')), `"module:${pathToFileURL(join(dir, 'mine.mjs')).href}"`, exported)
  }
})

t.test('faults of modules are reported with their file', async (t) => {
  const cases: [Record<string, string>, RegExp][] = [
    [{ 'a.yaml': YAML }, /a\.yaml:4:11: modules\[0\]: tools\/quote\.mjs: cannot be read: ENOENT/],
    [{ 'a.yaml': YAML, 'tools/quote.mjs': 'export const a = 1' }, /exports no tool \(defineTool\)/],
    [
      { 'a.yaml': YAML, 'tools/quote.mjs': 'export const a = {' },
      /modules\[0\]: tools\/quote\.mjs: Unexpected end of input/,
    ],
    [
      { 'a.yaml': YAML, 'tools/quote.mjs': 'export const a = { name: "a b", description: "x", run() {} }' },
      /tool a b: name must be 1 to 64/,
    ],
    [{ 'a.yaml': YAML.replace('tools/', '../../') }, /lies outside of the agents folder/],
    [
      { 'a.yaml': `${YAML}knowledge: [none.md]\n`, 'tools/quote.mjs': QUOTE },
      /a\.yaml:5:13: knowledge\[0\]: none\.md: cannot be read/,
    ],
    [
      { 'a.yaml': `${YAML}knowledge: [k.md]\n`, 'tools/quote.mjs': QUOTE, 'k.md': '# nothing' },
      /knowledge\[0\]: k\.md: has no passage/,
    ],
    [{ 'a.mjs': 'export default 3' }, /a\.mjs:1:1: has no default export made by defineAgent/],
    [
      { 'a.mjs': 'export default { version: 1, name: "a", instructions: "x", greting: "y" }' },
      /a\.mjs:1:1: greting is not a key of an agent; did you mean greeting\?/,
    ],
    [{ 'a.mjs': 'nonsense(' }, /a\.mjs:1:1: cannot be imported: /],
    [
      {
        'a.yaml': `${YAML}tools:\n  - {name: quote, description: x, http: {url: "https://a.example"}}\n`,
        'tools/quote.mjs': QUOTE,
      },
      /quote is the name of two tools/,
    ],
  ]
  for (const [files, message] of cases)
    await t.rejects(
      loadAgents(await folderWithTools(t, files), {}),
      { code: 'AGENT_INVALID', message },
      String(message),
    )
})

t.test('defineAgent and defineTool return their argument', async (t) => {
  const tool = defineTool({ name: 'hello', description: 'Says hello.', run: (_args, { identity }) => identity })
  const agent = defineAgent({ version: 1, name: 'a', instructions: 'Be brief.', tools: [tool] })
  t.equal(agent.tools?.[0], tool)
})

t.test('callers hear the notice, or the consent text if recorded', (t) => {
  const said = (recording: object) => {
    const agent = agentSchema.parse({ version: 1, name: 'a', instructions: 'Be brief.', recording })
    const start = { agent, assets: NO_ASSETS, callSid: 'x', from: '', to: '', direction: 'inbound', resume: null }
    const capabilities = { serverVad: false, truncate: false }
    const options = sessionOptions(start as unknown as CallStart, capabilities as BackendCapabilities, 0)
    return options.consentText
  }
  const notice = 'What is said is written down.'
  t.equal(said({}), null)
  t.equal(said({ notice }), notice)
  t.match(said({ notice, enabled: true }), { en: 'This call is recorded.' })
  t.end()
})
