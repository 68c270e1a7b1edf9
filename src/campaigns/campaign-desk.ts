import { setTimeout as sleep } from 'node:timers/promises'
import { agentWith, variablesReadBy } from '../agents/tools/call-variables.js'
import type { AgentDefinition } from '../agents/file/definition.js'
import { textIn } from '../call/spoken/localized-text.js'
import { csvText } from '../core/csv.js'
import { GatewayError } from '../core/errors.js'
import { maskNumber, numberToCall, subscriberNumber } from '../sautikit/phone.js'
import type { WallClock } from '../core/clock.js'
import { CALL_BACKS, campaignFileSchema, campaignOrderSchema, campaignSchema, readWindow } from './campaign.js'
import type {
  Campaign,
  CampaignCommand,
  CampaignMade,
  CampaignState,
  CampaignView,
  Row,
  RowPreview,
} from './campaign.js'
import type { Campaigns } from './campaigns.js'
import type { DoNotCall, DoNotCallEntry } from './do-not-call.js'
import { sumOf } from './row-queue.js'
import { forgetRows, rowsOf } from './rows-of.js'
import type { RowsTarget } from './rows-of.js'
import type { RowQueue } from './row-queue.js'
import { readRows } from './rows.js'

/** Interval at which the store is checked while a request runs, in milliseconds. */
const REACH_AGAIN_MS = 500
/** Maximum number of rows in a preview. */
const PREVIEW_ROWS = 10
/** Maximum number of campaigns, including ended campaigns. */
const CAMPAIGNS_MAX = 200

/** States in which each command is allowed, and the state that follows. */
const COMMANDS: Readonly<
  Record<CampaignCommand, { readonly from: readonly CampaignState[]; readonly to: CampaignState }>
> = {
  start: { from: ['draft'], to: 'running' },
  pause: { from: ['running'], to: 'paused' },
  resume: { from: ['paused'], to: 'running' },
  stop: { from: ['draft', 'running', 'paused'], to: 'stopped' },
}

interface CampaignDeskOptions {
  readonly campaigns: Pick<Campaigns, 'keep' | 'remove'>
  readonly queue: RowQueue
  readonly doNotCall: DoNotCall
  /**
   * Returns the agent; undefined if the agent is unknown, or if it reads a fact that this number does not have.
   * @param from  the gateway's number that calls
   */
  readonly agent: (name: string, from?: string) => AgentDefinition | undefined
  readonly agentNames: () => readonly string[]
  readonly prefixes: readonly string[]
  readonly wallClock: WallClock
}

/**
 * Operators' commands for campaigns. A refusal is a GatewayError: CONFIG_INVALID for a bad request, CAMPAIGN_UNKNOWN,
 * CALL_REFUSED.
 */
export class CampaignDesk {
  readonly #options: CampaignDeskOptions

  constructor(options: CampaignDeskOptions) {
    this.#options = options
  }

  /**
   * Returns the result of `ask`, unless the store of the campaigns stops answering. The request may still be carried
   * out later.
   * @throws GatewayError STORE_DOWN within 2 s
   */
  async reached<T>(ask: () => Promise<T>): Promise<T> {
    const { queue } = this.#options
    await queue.reach()
    const asked = ask()
    for (;;) {
      const answered = asked.then(() => true)
      if (await Promise.race([answered, sleep(REACH_AGAIN_MS, false, { ref: false })])) return asked
      await queue.reach()
    }
  }

  /**
   * Creates a draft from a complete file. If the file has a fault, the draft is not created. If a campaign with this
   * name and equal settings exists, the missing rows are added to that campaign.
   * @returns `added`: number of added rows; 0 if the file has a fault
   */
  async create(body: unknown): Promise<CampaignMade> {
    const { agent, agentNames, queue, prefixes, wallClock, campaigns, doNotCall } = this.#options
    const read = campaignFileSchema.safeParse(body)
    if (!read.success)
      throw invalid(read.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; '))
    const { csv, dryRun, onlyNew, ...order } = read.data
    const week = readWindow(order.window)
    if (typeof week === 'string') throw invalid(`window: ${week}`)
    const definition = agent(order.agent)
    if (definition === undefined)
      throw invalid(`agent: there is no agent of that name; allowed: ${agentNames().join(', ')}`)
    const from = order.from ?? definition.outbound.from ?? null
    if (from === null) throw invalid('from: is missing, and the agent has no outbound.from')
    if (subscriberNumber(from) === null) throw invalid('from: is not a phone number; allowed: such as +254700000000')
    const caller = agent(order.agent, from)
    if (caller === undefined)
      throw invalid('from: lacks facts that the agent reads (NUMBERS_FILE); allowed: a number that has these facts')
    if (order.voicemail === 'message' && definition.outbound.amd?.message == null)
      throw invalid('voicemail: is message, and the agent has no outbound.amd.message')
    const id =
      order.name
        .toLowerCase()
        .replace(/[^a-z0-9]+/g, '-')
        .replace(/^-+|-+$/g, '') || 'campaign'
    if (id === CALL_BACKS) throw invalid(`name: ${CALL_BACKS} is the name of the promised call backs`)
    const { rows, faults, more } = readRows(csv, {
      campaign: id,
      agent: order.agent,
      from,
      reads: variablesReadBy(definition),
      languages: definition.languages,
      prefixes,
    })
    const isTaken = onlyNew && (await queue.campaigns()).some((one) => one.id === id)
    const named = [
      ...(isTaken ? ['name: there is a campaign of that name; allowed: another name'] : []),
      ...faults,
      ...(more === 0 ? [] : [`and ${more} more`]),
    ]
    const preview = rows.slice(0, PREVIEW_ROWS).map((row) => previewOf(row, caller))
    if (named.length > 0 || dryRun)
      return { campaign: null, added: named.length > 0 ? 0 : rows.length, faults: named, preview }
    const all = await queue.campaigns()
    const before = all.find((one) => one.id === id)
    if (before !== undefined && !sameOrder(before, campaignOrderSchema.parse(order)))
      throw refused('there is a campaign of that name with other settings; allowed: another name, or the same settings')
    if (before?.state === 'lost') throw refused(lostText(before))
    if (before?.state === 'stopped') throw refused('the campaign of that name was stopped; allowed: another name')
    if (before === undefined && all.length >= CAMPAIGNS_MAX)
      throw refused(
        `there are ${CAMPAIGNS_MAX} campaigns; allowed: at most ${CAMPAIGNS_MAX}. Remove one that is over (mkondo campaign remove)`,
      )
    const campaign: Campaign =
      before ??
      campaignSchema.parse({
        ...order,
        version: 1,
        id,
        state: 'draft',
        why: null,
        createdAt: new Date(wallClock()).toISOString(),
        rows: rows.length,
      })
    const decided = await Promise.all(
      rows.map(async (row) => ((await doNotCall.has(row.to)) ? { ...row, result: 'do-not-call' as const } : row)),
    )
    // Rows are written before the campaign, because an existing campaign must have all its rows.
    const added = await queue.add(id, decided)
    const kept = before === undefined ? campaign : { ...before, rows: before.rows + added, endedAt: null }
    await campaigns.keep(kept)
    return { campaign: await this.#view(kept), added, faults: [], preview }
  }

  async list(): Promise<readonly CampaignView[]> {
    return Promise.all((await this.#options.queue.campaigns()).map((campaign) => this.#view(campaign)))
  }

  async view(id: string): Promise<CampaignView> {
    return this.#view(await this.#campaign(id))
  }

  async command(id: string, command: CampaignCommand): Promise<CampaignView> {
    const campaign = await this.#campaign(id)
    const { from, to } = COMMANDS[command]
    if (campaign.state === to) return this.#view(campaign)
    if (!from.includes(campaign.state))
      throw refused(`the campaign is ${campaign.state}; ${command} is allowed from: ${from.join(', ')}`)
    const changed: Campaign = { ...campaign, state: to, why: null }
    await this.#options.campaigns.keep(changed)
    return this.#view(changed)
  }

  /** Deletes a campaign that is over or was never started, with all its rows. */
  async remove(id: string): Promise<void> {
    const campaign = await this.#campaign(id)
    const { stands, calling } = await this.#view(campaign)
    if (!['draft', 'stopped', 'done', 'lost'].includes(stands) || calling > 0)
      throw refused(
        `the campaign is ${stands}; remove is allowed from: draft, stopped, done, lost, without a live call`,
      )
    await this.#options.campaigns.remove(id)
  }

  /** Returns CSV with a line for each row. */
  async report(id: string): Promise<string> {
    const campaign = id === CALL_BACKS ? null : await this.#campaign(id)
    if (campaign?.state === 'lost') throw refused(lostText(campaign))
    const rows = await this.#options.queue.rows(campaign?.id ?? CALL_BACKS)
    const header = ['number', 'id', 'state', 'result', 'tries', 'last_try_at', 'duration_s', 'call_sid', 'next_try_at']
    const lines = rows.map((row) => {
      const last = row.tries.at(-1)
      const state = stateOf(row)
      return [
        row.to,
        row.externalId ?? '',
        state,
        row.result ?? '',
        String(row.tries.length),
        last === undefined ? '' : new Date(last.atMs).toISOString(),
        last === undefined ? '' : String(Math.round(last.durationMs / 1000)),
        last?.callSid ?? '',
        state === 'waiting' && row.dueMs > 0 ? new Date(row.dueMs).toISOString() : '',
      ]
    })
    return csvText([header, ...lines])
  }

  /** Erases the people in the rows of a phone number or of a call. @returns the number of erased rows */
  forget(target: RowsTarget): Promise<number> {
    return forgetRows(this.#options.queue, target)
  }

  /** Returns the number of unreadable rows. The people in these rows are unknown. */
  unread(): Promise<number> {
    return this.#options.queue.unread()
  }

  /**
   * Returns the stored data of a phone number: its rows, each with its campaign, and its entry on the do-not-call list.
   */
  async ofNumber(number: string): Promise<{ readonly rows: readonly object[]; readonly doNotCall: boolean }> {
    const { queue, doNotCall } = this.#options
    const rows = await rowsOf(queue, number)
    return { rows, doNotCall: await doNotCall.has(number) }
  }

  async doNotCall(number: string, wanted: boolean): Promise<boolean> {
    const { doNotCall, wallClock } = this.#options
    if (!wanted) {
      if (subscriberNumber(number) === null)
        throw invalid('number: is not a phone number; allowed: such as +254712345678')
      return doNotCall.remove(number, wallClock())
    }
    // A phone number that cannot be called would not protect a person on the list. Therefore the person who adds it
    // must see an error.
    const read = numberToCall(number)
    if ('fault' in read) throw invalid(`number: is one that ${read.fault}`)
    await doNotCall.add(read.number, 'operator', wallClock())
    return true
  }

  /** @returns the entries, with masked phone numbers */
  async doNotCallList(max: number): Promise<readonly DoNotCallEntry[]> {
    const entries = await this.#options.doNotCall.list(max)
    return entries.map((entry) => ({ ...entry, number: maskNumber(`+${entry.number}`) }))
  }

  async #campaign(id: string): Promise<Campaign> {
    const campaign = (await this.#options.queue.campaigns()).find((one) => one.id === id)
    if (campaign === undefined)
      throw new GatewayError(
        'CAMPAIGN_UNKNOWN',
        'there is no campaign of that id; allowed: one of mkondo campaign list',
      )
    return campaign
  }

  async #view(campaign: Campaign): Promise<CampaignView> {
    const { rows, waiting, calling, results } = await this.#options.queue.counts(campaign.id)
    const done = campaign.state === 'running' && sumOf(results) >= rows
    return {
      ...campaign,
      stands: done ? 'done' : campaign.state,
      waiting,
      calling,
      results,
    }
  }
}

function previewOf({ to, externalId, timeZone, variables }: Row, agent: AgentDefinition): RowPreview {
  const { greeting, languages } = agentWith(agent, variables, true)
  const says = greeting === null ? null : textIn(greeting, languages[0] ?? '')
  return { number: maskNumber(to), externalId, timeZone, says }
}

function lostText({ id, why }: Campaign): string {
  return `the campaign is lost (${why ?? ''}); the numbers that it called are in the records of calls whose label begins with row-${id}-; allowed: another name, without these numbers`
}

function stateOf(row: Row): 'waiting' | 'calling' | 'done' {
  if (row.result !== null) return 'done'
  return row.tries.at(-1)?.result === null ? 'calling' : 'waiting'
}

function sameOrder(before: Campaign, order: object): boolean {
  const { name, version, id, state, why, createdAt, rows, endedAt, ...settings } = before
  const { name: _, ...wanted } = order as { name?: string }
  void [name, version, id, state, why, createdAt, rows, endedAt]
  const sorted = (value: object): string => JSON.stringify(Object.entries(value).sort(([a], [b]) => a.localeCompare(b)))
  return sorted(settings) === sorted(wanted)
}

function invalid(message: string): GatewayError {
  return new GatewayError('CONFIG_INVALID', message)
}

function refused(message: string): GatewayError {
  return new GatewayError('CALL_REFUSED', message)
}
