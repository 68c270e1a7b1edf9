import t from 'tap'
import type { BoundedModels } from '../../src/simulator/scenarios/bounded-models.js'
import type { ObservedCall } from '../../src/simulator/scenarios/judge.js'
import { judgedBy, VERDICTS_TOOL } from '../../src/simulator/scenarios/model-judge.js'

const QUOTE = 'your parcel is in Nakuru'
const call = {
  record: null,
  lines: [
    { role: 'caller', text: 'Where is it?', startMs: 0, endMs: 1 },
    { role: 'agent', text: "Well, your parcel is in Nakuru, and that's it.", startMs: 2, endMs: 3 },
  ],
} as unknown as ObservedCall
const judge = { criteria: { 'says-where': 'The agent says where it is.', 'is-rude': 'The agent is rude.' } }

const RIGHT = [
  { criterion: 'says-where', verdict: 'pass', quote: QUOTE },
  { criterion: 'is-rude', verdict: 'fail', quote: QUOTE },
]
const json = JSON.stringify({ verdicts: RIGHT })
const python = `{'verdicts': [{'criterion': 'says-where', 'verdict': 'pass', 'quote': 'your parcel is in Nakuru'},
  {'criterion': 'is-rude', 'verdict': 'fail', 'quote': "that's it", 'sure': True, 'note': None},]}`

async function verdicts(text: string, asTool = false): Promise<readonly string[]> {
  const calls = asTool ? [{ id: 'c', name: VERDICTS_TOOL, argumentsText: text }] : []
  const models = {
    nameOf: () => 'a-judge',
    ask: () => Promise.resolve({ text: asTool ? '' : text, calls, cut: null }),
  } as unknown as BoundedModels
  const { criteria, judgeFault } = await judgedBy(judge, call, models, 1)
  return [...criteria.map(({ verdict }) => verdict), ...(judgeFault === null ? [] : [judgeFault])]
}

const with_ = (...changes: readonly object[]): string =>
  JSON.stringify({ verdicts: RIGHT.map((one, i) => ({ ...one, ...changes[i] })) })

const FORMS: Readonly<Record<string, string>> = {
  'as it was asked for': json,
  fenced: `\`\`\`json\n${json}\n\`\`\``,
  'fenced, with words around': `Here {as asked} are they:\n\`\`\`json\n${json}\n\`\`\`\nI hope that helps.`,
  'with words around': `My verdicts [two]: ${json} Done.`,
  'with single quotes, as Python has it': python,
  'with bare names and a comma at the end': json
    .replace(/"(verdicts|criterion|verdict|quote)":/g, '$1:')
    .replace(/\]\}$/, ',]}'),
  'a text inside a text': JSON.stringify(json),
  'verdicts as a text': JSON.stringify({ verdicts: JSON.stringify(RIGHT) }),
  'the list alone': JSON.stringify(RIGHT),
  'by criterion': JSON.stringify({
    verdicts: Object.fromEntries(RIGHT.map(({ criterion, ...rest }) => [criterion, rest])),
  }),
  'by criterion alone': JSON.stringify(Object.fromEntries(RIGHT.map(({ criterion, ...rest }) => [criterion, rest]))),
  'in arguments once more': JSON.stringify({ arguments: { verdicts: RIGHT } }),
  'in capitals': with_({ verdict: 'PASS' }, { verdict: 'Fail' }),
  'names in other capitals': json.replaceAll('"verdict"', '"Verdict"').replaceAll('says-where', 'Says_Where'),
  'booleans for verdicts': with_({ verdict: true }, { verdict: 'false' }),
  'other words for verdicts': with_({ verdict: 'passed' }, { verdict: 'Failed.' }),
  'with more members': with_({ why: 'x', confidence: '0.9' }, { why: 'y' }),
  'with the words of the criterion': with_({ criterion: 'The agent says where it is.' }),
  'quotes in lists': with_({ quote: [QUOTE] }, { quote: [QUOTE] }),
  'a quote without end': with_({ quote: call.lines[1]?.text }, {}),
}

t.test("each form of a judge's verdicts is parsed", async (t) => {
  for (const [name, text] of Object.entries(FORMS)) {
    t.same(await verdicts(text), ['pass', 'fail'], name)
    t.same(await verdicts(text, true), ['pass', 'fail'], `${name}, as a call`)
  }
})

t.test('one invalid verdict leaves the others valid', async (t) => {
  t.same(await verdicts(with_({ verdict: 'maybe' })), ['unclear', 'fail'])
  t.same(await verdicts(JSON.stringify(RIGHT[0])), ['pass', 'unclear'])
  t.same(await verdicts(with_({ quote: 'Where is it?' })), ['unclear', 'fail'], 'the caller said it')
  t.same(await verdicts(JSON.stringify([...RIGHT, { ...RIGHT[0], verdict: 'fail' }])), ['unclear', 'fail'])
})

t.test('an unparsable verdict is a fault of the judge', async (t) => {
  for (const text of ['', 'I pass both of them.', '{"verdicts":', '{"verdicts":[]}', '4', '[1,2]'])
    t.match(await verdicts(text), ['unclear', 'unclear', /form/], text)
})
