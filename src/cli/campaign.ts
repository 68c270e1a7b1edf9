import { readFile } from 'node:fs/promises'
import type { CampaignView } from '../campaigns/campaign.js'
import type { CampaignOrder } from '../campaigns/campaign.js'
import { GatewayError, messageOf } from '../core/errors.js'
import { opsClientOf, refusalOf } from './ops-client.js'
import type { OpsOptions } from './ops-client.js'
import { json, table } from './terminal.js'
import type { Terminal } from './terminal.js'

/** A whole file is read, checked and kept. */
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
  const { json: asJson, opsUrl, config, dryRun, start, name = nameOf(file), ...order } = options
  const csv = await readFile(file, 'utf8').catch((thrown: unknown) => {
    throw new GatewayError('CONFIG_INVALID', `${file} cannot be read: ${messageOf(thrown)}`)
  })
  const ops = opsClientOf(
    { ...(opsUrl === undefined ? {} : { opsUrl }), ...(config === undefined ? {} : { config }) },
    terminal,
    CREATE_TIMEOUT_MS,
  )
  const { status, body } = await ops.post('/api/campaigns', {
    ...order,
    name,
    csv,
    ...(dryRun === true ? { dryRun } : {}),
  })
  const faults = (body['faults'] ?? []) as readonly string[]
  if (status >= 400 && faults.length === 0) throw refusalOf(body, status)
  if (faults.length > 0) {
    terminal.out(
      asJson === true ? json(body) : `nothing was made of ${file}:\n${faults.map((fault) => `  ${fault}\n`).join('')}`,
    )
    return 1
  }
  const campaign = body['campaign'] as CampaignView | null
  if (campaign === null) {
    terminal.out(asJson === true ? json(body) : `${String(body['added'])} rows can be called\n`)
    return 0
  }
  if (start === true) return commandCampaign(campaign.id, 'start', options, terminal)
  terminal.out(
    asJson === true
      ? json(body)
      : `${campaign.id}: ${String(body['added'])} rows, ${campaign.stands}; mkondo campaign start ${campaign.id}\n`,
  )
  return 0
}

/** `mkondo campaign list`. */
export async function listCampaigns(options: OpsOptions, terminal: Terminal): Promise<number> {
  const { status, body } = await opsClientOf(options, terminal).get('/api/campaigns')
  if (status !== 200) throw refusalOf(body, status)
  const campaigns = body['campaigns'] as readonly CampaignView[]
  const rows = campaigns.map(({ id, agent, stands, rows: all, waiting, calling, why }) => [
    id,
    agent,
    stands,
    String(all),
    String(waiting),
    String(calling),
    why ?? '',
  ])
  const head = ['CAMPAIGN', 'AGENT', 'STATE', 'ROWS', 'WAITING', 'CALLING', 'WHY']
  terminal.out(options.json === true ? json(body) : table(head, rows, 'no campaign'))
  return 0
}

/** `mkondo campaign show`. */
export async function showCampaign(id: string, options: OpsOptions, terminal: Terminal): Promise<number> {
  const { status, body } = await opsClientOf(options, terminal).get(`/api/campaigns/${encodeURIComponent(id)}`)
  if (status !== 200) throw refusalOf(body, status)
  terminal.out(options.json === true ? json(body) : shown(body as unknown as CampaignView))
  return 0
}

/** `mkondo campaign start`, `pause`, `resume` and `stop`. */
export async function commandCampaign(
  id: string,
  command: string,
  options: OpsOptions,
  terminal: Terminal,
): Promise<number> {
  const path = `/api/campaigns/${encodeURIComponent(id)}/${command}`
  const { status, body } = await opsClientOf(options, terminal).post(path, {})
  if (status !== 200) throw refusalOf(body, status)
  terminal.out(options.json === true ? json(body) : shown(body as unknown as CampaignView))
  return 0
}

/** `mkondo campaign remove`. */
export async function removeCampaign(id: string, options: OpsOptions, terminal: Terminal): Promise<number> {
  const path = `/api/campaigns/${encodeURIComponent(id)}/remove`
  const { status, body } = await opsClientOf(options, terminal).post(path, {})
  if (status !== 200) throw refusalOf(body, status)
  terminal.out(options.json === true ? json(body) : `${id} is gone, with all its rows\n`)
  return 0
}

/** `mkondo campaign report`. */
export async function reportCampaign(id: string, options: OpsOptions, terminal: Terminal): Promise<number> {
  const answer = await opsClientOf(options, terminal).file(`/api/campaigns/${encodeURIComponent(id)}/report.csv`)
  if (!(answer instanceof Uint8Array)) throw refusalOf(answer.body, answer.status)
  terminal.out(new TextDecoder().decode(answer))
  return 0
}

/** `mkondo do-not-call list`. */
export async function listDoNotCall(options: OpsOptions, terminal: Terminal): Promise<number> {
  const { status, body } = await opsClientOf(options, terminal).get('/api/do-not-call')
  if (status !== 200) throw refusalOf(body, status)
  const numbers = body['numbers'] as readonly { readonly number: string; readonly at: string; readonly by: string }[]
  const rows = numbers.map(({ number, at, by }) => [number, at, by])
  terminal.out(options.json === true ? json(body) : table(['NUMBER', 'SINCE', 'BY'], rows, 'nobody is on the list'))
  return 0
}

/** `mkondo do-not-call add` and `remove`. */
export async function changeDoNotCall(
  number: string,
  remove: boolean,
  options: OpsOptions,
  terminal: Terminal,
): Promise<number> {
  const { status, body } = await opsClientOf(options, terminal).post('/api/do-not-call', { number, remove })
  if (status !== 200) throw refusalOf(body, status)
  const done = body['changed'] === true
  terminal.out(
    options.json === true
      ? json(body)
      : remove
        ? done
          ? 'it is off the list\n'
          : 'it was not on the list\n'
        : 'it is on the list\n',
  )
  return remove && !done ? 1 : 0
}

function shown({ id, agent, stands, why, rows, waiting, calling, results }: CampaignView): string {
  const counts = Object.entries(results).map(([result, count]) => `${result} ${count}`)
  return `${id} (${agent}): ${stands}${why === null ? '' : `, because ${why}`}\n${rows} rows: ${[`waiting ${waiting}`, `calling ${calling}`, ...counts].join(', ')}\n`
}

/** `reminders` of `lists/reminders.csv`. */
function nameOf(file: string): string {
  return (file.split(/[\\/]/).at(-1) ?? file).replace(/\.[^.]*$/, '')
}
