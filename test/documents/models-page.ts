import { LIST_PRICES, costOf } from '../../src/backends/prices.js'
import { ASSUMPTIONS, expectedUsage } from '../../src/cli/money/expected-usage.js'
import { VENDORS } from '../../src/vendors/list.js'
import { tableRow, withMadeSection } from './made-section.js'

const FILE = 'docs/MODELS.md'

/** Length of the call that the page prices, and tokens of its agent's instructions and tools. */
const CALL = { minutes: 3, promptTokens: 1500 }

/** A choice of models, with the facts that no declaration has. */
interface Choice {
  /** Backend, and the vendors of a cascade or the model if it is not the default. */
  readonly name: string
  /** Models in the vendors' declarations. */
  readonly models: readonly string[]
  /** Parts of it that no vendor's declaration prices. */
  readonly unpriced?: string
  readonly swahili: string
  /** Share of solved tasks in τ-voice: retail, airline, telecom. */
  readonly tasks: string
}

const CHOICES: readonly Choice[] = [
  {
    name: '`openai-live`',
    models: ['gpt-live-1.1', 'gpt-5.4-mini'],
    swahili: 'no list; the vendor says that accents are more consistent than before',
    tasks: '79, 82, 84 % (gpt-live-1 with another delegate)',
  },
  {
    name: '`openai`',
    models: ['gpt-realtime-2.1'],
    swahili: 'no list',
    tasks: '47 to 50, 58 to 66, 22 to 38 % (gpt-realtime-2)',
  },
  {
    name: '`openai`, `OPENAI_MODEL=gpt-realtime-2.1-mini`',
    models: ['gpt-realtime-2.1-mini'],
    swahili: 'no list',
    tasks: '-',
  },
  { name: '`gemini`', models: ['gemini-3.8-live'], swahili: 'no list', tasks: '-' },
  {
    name: '`azure-voice-live`',
    models: [],
    unpriced: '`AZURE_VOICE_LIVE_MODEL`',
    swahili: 'yes, of Kenya: recognition and voices',
    tasks: '-',
  },
  {
    name: '`xai`',
    models: [],
    unpriced: '`grok-voice-think-fast-2.0`',
    swahili: 'no list',
    tasks: '59 to 76, 56 to 70, 72 to 78 % (two of its models)',
  },
  {
    name: '`cascade` with Azure',
    models: ['azure-speech-to-text', 'gpt-5.4-mini', 'azure-neural-voice'],
    swahili: 'yes, of Kenya and Tanzania',
    tasks: 'as the language model',
  },
  {
    name: '`cascade` with Google',
    models: ['google-speech-to-text', 'gemini-3.8-flash', 'chirp3-hd'],
    swahili: 'yes, of Kenya and Tanzania; the voice of Kenya',
    tasks: 'as the language model',
  },
  {
    name: '`cascade` with Soniox',
    models: ['gpt-5.4-mini'],
    unpriced: 'Soniox',
    swahili: 'yes, and the language of each word',
    tasks: 'as the language model',
  },
  {
    name: '`cascade` with Deepgram and ElevenLabs',
    models: ['nova-3', 'gpt-5.4-mini', 'eleven_flash_v2_5'],
    swahili: 'no',
    tasks: 'as the language model',
  },
  {
    name: '`embedded`',
    models: [],
    swahili: 'by keypad alone',
    tasks: 'its scripted dialogue',
  },
]

/** docs/MODELS.md, of which the table of choices is made from the vendors' prices and ends. */
export function modelsPage(): string {
  const head = ['choice', 'models', 'one call', 'prices read on', 'Swahili', 'tasks solved', 'announced end']
  const rows = CHOICES.map(({ name, models, unpriced, swahili, tasks }) => [
    name,
    [...models.map((model) => `\`${model}\``), ...(unpriced === undefined ? [] : [unpriced])].join(', '),
    costText(models, unpriced),
    [...new Set(models.map((model) => priceOf(model).readOn))].join(', '),
    swahili,
    tasks,
    models.flatMap((model) => endsOf(model)).join(', ') || '-',
  ])
  const table = `${tableRow(head)}\n|${'---|'.repeat(head.length)}\n${rows.map(tableRow).join('\n')}\n`
  return withMadeSection(
    FILE,
    'choices',
    `${table}\n*One call* is ${CALL.minutes} minutes with an agent of ${CALL.promptTokens} tokens, in US dollars and without the carrier. Assumed: ${ASSUMPTIONS}.\n`,
  )
}

function priceOf(model: string) {
  const price = LIST_PRICES[model]
  if (price === undefined) throw new Error(`${FILE}: no vendor declares a price of ${model}`)
  return price
}

function costText(models: readonly string[], unpriced: string | undefined): string {
  if (models.length === 0) return unpriced === undefined ? '$0' : 'no listed price'
  const cost = models.reduce((sum, model) => {
    const price = priceOf(model)
    const cost = costOf(expectedUsage(model, price, CALL), price)
    if ('unknown' in cost) throw new Error(`${FILE}: ${model}: ${cost.unknown}`)
    return sum + cost.amount
  }, 0)
  return `$${cost.toFixed(3)}${unpriced === undefined ? '' : `, and ${unpriced}`}`
}

function endsOf(model: string): readonly string[] {
  return VENDORS.flatMap(({ ends }) => {
    const end = ends?.[model]
    return end === undefined ? [] : [`\`${model}\` on ${end.endsOn}`]
  })
}
