import { ratesOf, publicPrices, publicPricesText } from '../../sautikit-api/public-prices.js'
import { CarrierHttp } from '../../sautikit-api/http.js'
import type { CarrierRates, PriceFile } from '../../agents/file/prices.js'
import { textModelName } from '../../backends/cascade/service-facts.js'
import { endOf, endText } from '../../backends/model-ends.js'
import { CARRIER_RATES, costOf, exchangeRate, priceList } from '../../backends/prices.js'
import type { PriceList } from '../../backends/prices.js'
import { modelsOf } from '../../backends/registry.js'
import type { BackendUsage } from '../../call/backend-events.js'
import { noUsage } from '../../call/usage.js'
import { loadConfig } from '../../config/load-config.js'
import { messageOf, whereThere } from '../../core/errors.js'
import { agentEnvironment } from '../../gateway/agents/agent-environment.js'
import { backendSettings, hostedAgents } from '../../gateway/agents/hosted-agents.js'
import { useCountry } from '../../sautikit/phone.js'
import type { ModelPrice } from '../../vendors/model-price.js'
import type { HostedAgent } from '../../workers/main/main-thread-context.js'
import { needsDemoShop } from '../demo/demo-shop.js'
import { UsageError } from '../exit-codes.js'
import { json, table } from '../terminal.js'
import type { Terminal } from '../terminal.js'
import { ASSUMPTIONS, CHARACTERS_PER_TOKEN, expectedAnalysis, expectedUsage } from './expected-usage.js'
import { UNITS } from './usage-exports.js'
import { recordedUsage, usedCalls } from './usage-records.js'
import type { RecordedUsage } from './usage-records.js'

/** Options of `mkondo cost`. */
export interface EstimateOptions {
  readonly agent: string
  readonly calls: number
  /** Duration of one call in minutes. */
  readonly minutes: number
  readonly outbound?: true
  readonly assumed?: true
  readonly carrierPrices?: true
  readonly config?: string
  readonly json?: true
}

/**
 * RECORDED_MIN: minimum number of recorded calls for an estimate from records. RECORDED_MAX: number of newest calls
 * that are read.
 */
const RECORDED_MIN = 20
const RECORDED_MAX = 1000
const MINUTE_S = 60

/** One line of an estimate. */
interface CostLine {
  /** Name of the part of the cost: a model's name, `carrier: call`, `carrier: stream` or `analysis: MODEL`. */
  readonly part: string
  /** Source of the usage: call records, assumptions, or the carrier's rates. */
  readonly by: 'records' | 'assumed' | 'rates'
  /** Source of the price, with the day on which the price was read. */
  readonly price: string
  /** Cost of one call, in the estimate's currency; null if unknown. */
  readonly perCall: number | null
  readonly unknown: string | null
}

/**
 * `mkondo cost`: estimates the cost of calls before they are made.
 * @returns 1 if a part is unknown
 */
export async function estimate(options: EstimateOptions, terminal: Terminal): Promise<number> {
  let config = loadConfig(terminal.env, options.config ?? null)
  useCountry(config.country)
  // An estimate runs no tools, so the address is not used.
  if (needsDemoShop(config, false)) config = { ...config, shopApiUrl: 'http://127.0.0.1' }
  const { agents } = await hostedAgents(config, agentEnvironment(terminal.env, config), undefined, terminal.env)
  const agent = agents.get(options.agent)
  if (agent === undefined)
    throw new UsageError(`there is no agent '${options.agent}'; allowed: ${[...agents.keys()].join(', ')}`)
  const settings = backendSettings(config)
  const { prices } = settings
  const notes: string[] = []
  const own = prices?.carrier ?? CARRIER_RATES
  const ownSource = prices?.carrier === undefined ? CARRIER_RATES.source : 'PRICES_FILE'
  const stream = { rates: own, source: ownSource }
  let call = stream
  if (options.carrierPrices === true) {
    const listed = await carriersList(config.apiUrl)
    if (typeof listed === 'string') notes.push(listed)
    else {
      const rates = ratesOf(listed, own, new Date().toISOString().slice(0, 10))
      call = { rates, source: `the carrier's list, ${publicPricesText(listed)}` }
    }
  }
  const recorded =
    options.assumed === true
      ? { calls: 0, minutes: 0, models: new Map(), analysis: null }
      : recordedUsage(
          whereThere(() => usedCalls(config.dataDir).calls, []),
          options.agent,
          RECORDED_MAX,
        )
  const { definition } = agent
  const list = priceList([definition.budget?.prices ?? null, prices])
  const used = modelUsage(agent, recorded, settings, options.minutes, list)
  notes.push(used.note)
  const converted = converter(prices, config.currency)
  const lines = [
    ...used.models.map((one) => modelLine(one.model, one, list, converted)),
    ...carrierLines(call, stream, options, converted),
    ...analysisLines(agent, recorded, settings, options.minutes, list, converted),
  ]
  for (const { model } of used.models) {
    const end = endOf(model, Date.now())
    if (end !== null) notes.push(endText(end))
  }
  const unknown = lines.find((line) => line.perCall === null)?.unknown ?? null
  const known = lines.reduce((sum, { perCall }) => sum + (perCall ?? 0), 0)
  const result = {
    agent: options.agent,
    calls: options.calls,
    minutes: options.minutes,
    currency: config.currency,
    perCall: unknown === null ? known : null,
    all: unknown === null ? known * options.calls : null,
    known: known * options.calls,
    unknown,
    lines,
    notes,
  }
  terminal.out(options.json === true ? json(result) : estimateText(result))
  return unknown === null ? 0 : 1
}

type Estimate = Readonly<
  Record<'calls' | 'minutes' | 'known', number> &
    Record<'agent' | 'currency', string> & {
      unknown: string | null
      lines: readonly CostLine[]
      notes: readonly string[]
    }
>

function estimateText({ agent, calls, minutes, currency, known, unknown, lines, notes }: Estimate): string {
  const rows = lines.map(({ part, by, price, perCall, unknown: why }) => [
    part,
    perCall === null ? 'unknown' : amountText(perCall),
    perCall === null ? (why ?? '') : amountText(perCall * calls),
    by,
    price,
  ])
  const sum = [unknown === null ? 'all' : 'known', amountText(known / calls), amountText(known), '', '']
  return (
    `${agent}: ${calls} calls of ${minutes} minutes, in ${currency}\n\n` +
    table(['part', 'a call', 'all calls', 'units by', 'price'], [...rows, sum], '') +
    `\n${notes.map((note) => `- ${note}\n`).join('')}`
  )
}

/** An amount with four significant digits: `0.08312`, `249.4`. */
function amountText(amount: number): string {
  return amount === 0 ? '0' : amount >= 1000 ? amount.toFixed(0) : String(Number(amount.toPrecision(4)))
}

async function carriersList(apiUrl: string) {
  try {
    const http = new CarrierHttp({ baseUrl: apiUrl, apiKey: null })
    return (await publicPrices(http)) ?? 'the carrier has no public price list'
  } catch (thrown) {
    return `the carrier's public price list was not read: ${messageOf(thrown)}`
  }
}

/** Usage of one call, by model. */
interface CallUsage {
  readonly backend: string
  readonly model: string
  readonly usage: BackendUsage
  readonly by: 'records' | 'assumed'
}

/** Usage from call records if they contain the agent's current models, otherwise from assumptions. */
function modelUsage(
  agent: HostedAgent,
  recorded: RecordedUsage,
  settings: ReturnType<typeof backendSettings>,
  minutes: number,
  list: PriceList,
): { readonly models: readonly CallUsage[]; readonly note: string } {
  const { definition, shares } = agent
  const served = shares
    .filter(({ percent }) => percent > 0)
    .map(({ percent, names: [first = ''] }) => ({ percent, first }))
  const isFree = ({ first }: { first: string }): boolean => first === 'embedded'
  const models = served.flatMap((share) => {
    const names = isFree(share) ? [] : modelsOf(share.first, settings, definition.backends)
    return names.map((model) => ({ ...share, model: model ?? '' }))
  })
  // A share's calls may be served by any of its backends, because a failover changes the backend.
  const today = new Set(
    shares.flatMap(({ names }) =>
      names.flatMap((name) => modelsOf(name, settings, definition.backends).map((model) => `${name} ${model ?? ''}`)),
    ),
  )
  const isToday = [...recorded.models].every(([key, { backend }]) => backend === 'embedded' || today.has(key))
  const has = isToday && models.every(({ first, model }) => recorded.models.has(`${first} ${model}`))
  if (recorded.calls >= RECORDED_MIN && has) {
    const found = [...recorded.models.values()].filter(({ backend }) => backend !== 'embedded')
    return {
      models: found.map(({ backend, model, usage }) => ({
        ...{ backend, model, by: 'records' as const },
        usage: scaled(usage, minutes / recorded.minutes),
      })),
      note: `units of models: ${recorded.calls} recorded calls of this agent, ${(recorded.minutes / recorded.calls).toFixed(1)} minutes on average; models by tokens cost more a minute in longer calls`,
    }
  }
  const prompt = JSON.stringify(definition.tools).length + definition.instructions.length
  const promptTokens = prompt / CHARACTERS_PER_TOKEN
  const why =
    recorded.calls < RECORDED_MIN
      ? `${recorded.calls} recorded calls of this agent, ${RECORDED_MIN} are needed`
      : 'the recorded calls had other models'
  return {
    models: models.map(({ percent, first, model }) => {
      const price = list.priceOf(first, model)
      const usage = price === null ? noUsage() : expectedUsage(model, price, { minutes, promptTokens })
      return { backend: first, model, by: 'assumed', usage: scaled(usage, percent / 100) }
    }),
    note: `assumed (${why}): ${ASSUMPTIONS}; compare with mkondo cost reconcile`,
  }
}

function scaled(usage: BackendUsage, factor: number): BackendUsage {
  const sums = noUsage()
  for (const unit of UNITS) {
    const figure = usage[unit]
    // A figure that no call has stays absent, because it is unknown and not 0.
    if (figure !== undefined) sums[unit] = figure * factor
  }
  return sums
}

/** @returns null without a rate */
type Converter = (amount: number, from: string) => number | null

function converter(prices: PriceFile | null, currency: string): Converter {
  return (amount, from) => {
    const rate = exchangeRate(prices, from, currency)
    return rate === null ? null : amount * rate
  }
}

function modelLine(
  part: string,
  { backend, model, usage, by }: CallUsage,
  list: PriceList,
  convert: Converter,
): CostLine {
  const price = list.priceOf(backend, model === '' ? null : model)
  const name = part === '' ? `${backend} (no model named)` : part
  if (price === null) return { part: name, by, price: '-', perCall: null, unknown: `no price for ${name}` }
  const cost = costOf(usage, price)
  const from = priceText(list.currency, price)
  if ('unknown' in cost) return { part: name, by, price: from, perCall: null, unknown: cost.unknown }
  return { part: name, by, price: from, ...inCurrency(cost.amount, list.currency, convert) }
}

function priceText(currency: string, price: ModelPrice): string {
  return 'source' in price && 'readOn' in price
    ? `${currency}, read ${String(price.readOn)} at ${String(price.source)}`
    : `${currency}, PRICES_FILE or the agent's file`
}

function inCurrency(amount: number, from: string, convert: Converter): Pick<CostLine, 'perCall' | 'unknown'> {
  const perCall = amount === 0 ? 0 : convert(amount, from)
  return { perCall, unknown: perCall === null ? `no exchange rate from ${from} in PRICES_FILE` : null }
}

/** Rates of the carrier, and their source. */
interface SourcedRates {
  readonly rates: CarrierRates
  readonly source: string
}

/** @param stream  rates of the open stream, which are not in the carrier's public list */
function carrierLines(
  call: SourcedRates,
  stream: SourcedRates,
  { minutes, outbound }: EstimateOptions,
  convert: Converter,
): CostLine[] {
  const line = (part: string, { rates, source }: SourcedRates, perMinute: number): CostLine => {
    const { currency, blockS, readOn } = rates
    const charged = (Math.ceil((minutes * MINUTE_S) / blockS) * blockS) / MINUTE_S
    const price = `${currency}, read ${readOn}: ${source}`
    return { part, by: 'rates', price, ...inCurrency(charged * perMinute, currency, convert) }
  }
  const { inboundPerMinute, outboundPerMinute } = call.rates
  return [
    outbound === true
      ? line('carrier: outbound call', call, outboundPerMinute)
      : line('carrier: inbound call', call, inboundPerMinute),
    line('carrier: stream', stream, stream.rates.streamPerMinute),
  ]
}

function analysisLines(
  { definition }: HostedAgent,
  recorded: RecordedUsage,
  settings: ReturnType<typeof backendSettings>,
  minutes: number,
  list: PriceList,
  convert: Converter,
): CostLine[] {
  if (definition.analysis === null) return []
  const model = textModelName(settings.cascade, definition.backends.cascade ?? {})
  if (model === null) return []
  const isRecorded = recorded.calls >= RECORDED_MIN && recorded.analysis?.model === model
  const usage =
    isRecorded && recorded.analysis !== null
      ? scaled(recorded.analysis.usage, 1 / recorded.calls)
      : expectedAnalysis(minutes)
  const by = isRecorded ? 'records' : 'assumed'
  return [modelLine(`analysis: ${model}`, { backend: 'cascade', model, usage, by }, list, convert)]
}
