import { readFile } from 'node:fs/promises'
import { sheetText } from '../agents/identity/spreadsheet.js'
import type { CampaignView, RowPreview } from '../campaigns/campaign.js'
import type { CampaignOrder } from '../campaigns/campaign.js'
import { GatewayError, messageOf } from '../core/errors.js'
import { opsClientOf, printed, refusalOf } from './ops-client.js'
import type { OpsOptions } from './ops-client.js'
import { shown, table } from './terminal.js'
import type { Terminal } from './terminal.js'

/** Time limit in ms for reading, checking and storing a whole file. */
const CREATE_TIMEOUT_MS = 120_000

/** The options of `mkondo campaign create`. */
export interface CreateOptions extends OpsOptions, Partial<Omit<CampaignOrder, 'agent' | 'window' | 'timeZone'>> {
  readonly agent: string
  readonly window: string
  readonly timeZone: string
  readonly dryRun?: true
  readonly start?: true
}

/** `mkondo campaign create`. */
export async function createCampaign(file: string, options: CreateOptions, terminal: Terminal): Promise<number> {
  const { json: _asJson, opsUrl, config, dryRun, start, name = nameOf(file), ...order } = options
  const bytes = await readFile(file).catch((thrown: unknown) => {
    throw new GatewayError('CONFIG_INVALID', `${file} cannot be read: ${messageOf(thrown)}`)
  })
  const csv = sheetText(bytes)
  const ops = opsClientOf(
    { ...(opsUrl === undefined ? {} : { opsUrl }), ...(config === undefined ? {} : { config }) },
    terminal,
    CREATE_TIMEOUT_MS,
  )
  const { status, body } = await ops.answer('/api/campaigns', {
    ...order,
    name,
    csv,
    ...(dryRun === true ? { dryRun } : {}),
  })
  const faults = (body['faults'] ?? []) as readonly string[]
  if (status >= 400 && faults.length === 0) throw refusalOf(body, status)
  if (faults.length > 0) {
    const all = (): string => faults.map((fault) => `  ${fault}\n`).join('')
    shown(options, terminal, body, () => `no campaign was created from ${file}:\n${all()}`)
    return 1
  }
  const campaign = body['campaign'] as CampaignView | null
  const added = String(body['added'])
  const preview = (body['preview'] ?? []) as readonly RowPreview[]
  if (campaign === null)
    return shown(options, terminal, body, () => `${added} rows can be called\n${previewText(preview)}`)
  if (start === true) return commandCampaign(campaign.id, 'start', options, terminal)
  const { id, stands } = campaign
  return shown(options, terminal, body, () => `${id}: ${added} rows, ${stands}; mkondo campaign start ${id}\n`)
}

/**
 * Preview of the first rows: each number and the agent's first words to it. An earlier gateway version sends no
 * preview.
 */
function previewText(preview: readonly RowPreview[]): string {
  return preview.map(({ number, says }) => `  ${number}  ${says ?? '(the model decides)'}\n`).join('')
}

const HEAD = ['CAMPAIGN', 'AGENT', 'STATE', 'ROWS', 'WAITING', 'CALLING', 'WHY']

/** `mkondo campaign list`. */
export function listCampaigns(options: OpsOptions, terminal: Terminal): Promise<number> {
  return printed(
    options,
    terminal,
    '/api/campaigns',
    ({ campaigns }: { readonly campaigns: readonly CampaignView[] }) => {
      const rows = campaigns.map(({ id, agent, stands, rows: all, waiting, calling, why }) => [
        ...[id, agent, stands],
        ...[all, waiting, calling].map(String),
        why ?? '',
      ])
      return table(HEAD, rows, 'no campaign')
    },
  )
}

/** `mkondo campaign show`. */
export function showCampaign(id: string, options: OpsOptions, terminal: Terminal): Promise<number> {
  return printed(options, terminal, pathOf(id), campaignText)
}

/** `mkondo campaign start`, `pause`, `resume` and `stop`. */
export function commandCampaign(id: string, command: string, options: OpsOptions, terminal: Terminal): Promise<number> {
  return printed(options, terminal, `${pathOf(id)}/${command}`, campaignText, {})
}

/** `mkondo campaign remove`. */
export function removeCampaign(id: string, options: OpsOptions, terminal: Terminal): Promise<number> {
  return printed(options, terminal, `${pathOf(id)}/remove`, () => `${id} is deleted, with all its rows\n`, {})
}

/** `mkondo campaign report`. */
export async function reportCampaign(id: string, options: OpsOptions, terminal: Terminal): Promise<number> {
  const answer = await opsClientOf(options, terminal).file(`${pathOf(id)}/report.csv`)
  if (!(answer instanceof Uint8Array)) throw refusalOf(answer.body, answer.status)
  terminal.out(new TextDecoder().decode(answer))
  return 0
}

function pathOf(id: string): string {
  return `/api/campaigns/${encodeURIComponent(id)}`
}

interface DoNotCall {
  readonly numbers: readonly { readonly number: string; readonly at: string; readonly by: string }[]
}

/** `mkondo do-not-call list`. */
export function listDoNotCall(options: OpsOptions, terminal: Terminal): Promise<number> {
  return printed(options, terminal, '/api/do-not-call', ({ numbers }: DoNotCall) =>
    table(
      ['NUMBER', 'SINCE', 'BY'],
      numbers.map(({ number, at, by }) => [number, at, by]),
      'nobody is on the list',
    ),
  )
}

/** `mkondo do-not-call add` and `remove`. */
export async function changeDoNotCall(
  number: string,
  remove: boolean,
  options: OpsOptions,
  terminal: Terminal,
): Promise<number> {
  const body = await opsClientOf(options, terminal).ask('/api/do-not-call', { number, remove })
  const done = body['changed'] === true
  const text = remove ? (done ? 'it is off the list\n' : 'it was not on the list\n') : 'it is on the list\n'
  shown(options, terminal, body, () => text)
  return remove && !done ? 1 : 0
}

function campaignText({ id, agent, stands, why, rows, waiting, calling, results }: CampaignView): string {
  const counts = Object.entries(results).map(([result, count]) => `${result} ${count}`)
  return `${id} (${agent}): ${stands}${why === null ? '' : `, because ${why}`}\n${rows} rows: ${[`waiting ${waiting}`, `calling ${calling}`, ...counts].join(', ')}\n`
}

/** Name for a file: `reminders` for `lists/reminders.csv`. */
function nameOf(file: string): string {
  return (file.split(/[\\/]/).at(-1) ?? file).replace(/\.[^.]*$/, '')
}
