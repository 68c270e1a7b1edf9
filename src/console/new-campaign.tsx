import type { JSX } from 'preact'
import { useState } from 'preact/hooks'
import type { CampaignMade, RowPreview } from '../campaigns/campaign.js'
import { ApiFault, messageOf, post } from './api.js'
import { fieldOf, Notice, submits, Table } from './parts.js'
import { T } from './strings.js'

/**
 * Maximum number of characters of the file's name in the campaign's name. The campaign's name also contains a time, and
 * has at most 60 characters.
 */
const FILE_CHARS_MAX = 40

/** Result of the last check, or of the last draft. */
type Shown =
  | { readonly is: 'checked' | 'faulty'; readonly made: CampaignMade }
  | { readonly is: 'made'; readonly name: string; readonly rows: number }

/**
 * Form that makes a draft of a campaign from a file. It first checks the file and shows the texts for the first rows.
 */
export function NewCampaign(props: { readonly agents: readonly string[]; readonly onMade: () => void }): JSX.Element {
  const { agents, onMade } = props
  const [shown, setShown] = useState<Shown | null>(null)
  const [failed, setFailed] = useState<string | null>(null)
  const [asking, setAsking] = useState(false)
  const send = async (form: HTMLFormElement, dryRun: boolean): Promise<void> => {
    setFailed(null)
    setAsking(true)
    try {
      const made = await ask(await orderOf(form), dryRun)
      const { campaign, faults, added } = made
      setShown(
        campaign === null
          ? { is: faults.length > 0 ? 'faulty' : 'checked', made }
          : { is: 'made', name: campaign.name, rows: added },
      )
      if (campaign !== null) onMade()
    } catch (thrown) {
      setShown(null)
      setFailed(T.failed(messageOf(thrown)))
    } finally {
      setAsking(false)
    }
  }
  const isChecked = shown?.is === 'checked'
  return (
    <details class="new-campaign">
      <summary>{T.campaigns.make}</summary>
      {/* Any change discards the check, because a draft is made only from a checked file. */}
      <form class="find" onSubmit={submits((form) => void send(form, !isChecked))} onInput={() => setShown(null)}>
        <label>
          {T.campaigns.file}
          <input name="file" type="file" accept=".csv,.tsv,.txt,text/csv" disabled={asking} required />
        </label>
        <label>
          {T.campaigns.agent}
          <select name="agent" disabled={asking} required>
            {agents.map((agent) => (
              <option key={agent} value={agent}>
                {agent}
              </option>
            ))}
          </select>
        </label>
        <label>
          {T.campaigns.from}
          <input name="from" type="tel" maxLength={20} autocomplete="off" disabled={asking} />
        </label>
        <label>
          {T.campaigns.hours}
          <input
            name="window"
            type="text"
            maxLength={200}
            defaultValue="Mon-Sat 09:00-18:00"
            disabled={asking}
            required
          />
        </label>
        <label>
          {T.campaigns.zone}
          <input
            name="timeZone"
            type="text"
            maxLength={60}
            defaultValue={Intl.DateTimeFormat().resolvedOptions().timeZone}
            disabled={asking}
            required
          />
        </label>
        <button type="submit" disabled={asking}>
          {isChecked ? T.campaigns.draft : T.campaigns.check}
        </button>
      </form>
      {failed !== null && <Notice kind="fault">{failed}</Notice>}
      {shown?.is === 'made' && <Notice>{T.campaigns.made(shown.name, shown.rows)}</Notice>}
      {shown?.is === 'faulty' && (
        <>
          <Notice kind="fault">{T.campaigns.faulty(shown.made.faults.length)}</Notice>
          <ul>
            {shown.made.faults.map((fault) => (
              <li key={fault}>{fault}</li>
            ))}
          </ul>
        </>
      )}
      {isChecked && <Notice>{T.campaigns.checked(shown.made.added)}</Notice>}
      {(isChecked || shown?.is === 'faulty') && shown.made.preview.length > 0 && <Preview rows={shown.made.preview} />}
    </details>
  )
}

function Preview({ rows }: { readonly rows: readonly RowPreview[] }): JSX.Element {
  return (
    <Table
      class="calls"
      label={T.campaigns.first}
      heads={[
        T.campaigns.number,
        T.campaigns.says,
        { name: T.campaigns.rowId, class: 'wide' },
        { name: T.campaigns.zone, class: 'wide' },
      ]}
    >
      {rows.map(({ number, says, externalId, timeZone }, at) => (
        <tr key={at}>
          <td class="mono">{number}</td>
          <td class="said">{says ?? T.campaigns.model}</td>
          <td class="wide">{externalId ?? '–'}</td>
          <td class="wide">{timeZone ?? '–'}</td>
        </tr>
      ))}
    </Table>
  )
}

async function ask(order: Readonly<Record<string, unknown>>, dryRun: boolean): Promise<CampaignMade> {
  try {
    return (await post('/api/campaigns', { ...order, dryRun, onlyNew: true })) as CampaignMade
  } catch (thrown) {
    // An answer with faults of the file is a result too, although its status is an error.
    const body = thrown instanceof ApiFault ? (thrown.body as Partial<CampaignMade> | null) : null
    if (body?.faults === undefined) throw thrown
    return { campaign: null, added: 0, preview: [], ...body, faults: body.faults }
  }
}

/** @throws Error if the file cannot be read */
async function orderOf(form: HTMLFormElement): Promise<Readonly<Record<string, unknown>>> {
  const file = new FormData(form).get('file')
  if (!(file instanceof File)) throw new Error(T.campaigns.unread)
  const from = fieldOf(form, 'from').trim()
  return {
    name: nameOf(file.name, new Date()),
    agent: fieldOf(form, 'agent'),
    window: fieldOf(form, 'window'),
    timeZone: fieldOf(form, 'timeZone'),
    csv: textOf(new Uint8Array(await file.arrayBuffer())),
    ...(from === '' ? {} : { from }),
  }
}

/**
 * Name of a campaign, such as `reminders 2026-11-29 23.30` for `reminders.csv`. The time makes the name different for
 * each use of a file.
 */
function nameOf(file: string, now: Date): string {
  const name = file.replace(/\.[^.]*$/, '').replace(/[^\p{L}\p{N} ._-]+/gu, ' ')
  const local = new Date(now.getTime() - now.getTimezoneOffset() * 60_000).toISOString()
  const time = `${local.slice(0, 10)} ${local.slice(11, 16).replace(':', '.')}`
  return `${name.trim().slice(0, FILE_CHARS_MAX).trim() || 'campaign'} ${time}`
}

/** Text of a file in an encoding that spreadsheets write: UTF-16 with a byte order mark, UTF-8, or Windows-1252. */
function textOf(bytes: Uint8Array): string {
  const [first, second] = bytes
  if (first === 0xff && second === 0xfe) return new TextDecoder('utf-16le').decode(bytes)
  if (first === 0xfe && second === 0xff) return new TextDecoder('utf-16be').decode(bytes)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    return new TextDecoder('windows-1252').decode(bytes)
  }
}
