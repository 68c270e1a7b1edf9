import type { JSX } from 'preact'
import { useState } from 'preact/hooks'
import type { CampaignCommand, CampaignView } from '../campaigns/campaign.js'
import { post, useJson, messageOf } from './api.js'
import { whenOf } from './format.js'
import { NewCampaign } from './new-campaign.js'
import { Chip, Notice, Pending, SureButton, Table } from './parts.js'
import { T } from './strings.js'

/** Interval in ms of requests for the campaigns while the page shows them. */
const CAMPAIGNS_MS = 3000

type Asked = CampaignCommand | 'remove'

/** Commands that are allowed in each state. */
const ALLOWED: Readonly<Record<CampaignView['stands'], readonly Asked[]>> = {
  draft: ['start', 'remove'],
  running: ['pause', 'stop'],
  paused: ['resume', 'stop'],
  stopped: ['remove'],
  done: ['remove'],
  lost: ['remove'],
}
/** Commands that need a confirmation, because they ring people or cannot be undone. */
const SURE: readonly Asked[] = ['start', 'stop', 'remove']

const KINDS: Readonly<Record<CampaignView['stands'], string>> = {
  draft: 'waiting',
  running: 'good',
  paused: 'bad',
  stopped: 'ended',
  done: 'ended',
  lost: 'bad',
}

/** Page of this gateway's campaigns: the progress of each campaign, and the operator's commands. */
export function CampaignsPage({
  act,
  agents,
}: {
  readonly act: boolean
  /** Names of the agents that can place calls. */
  readonly agents: readonly string[]
}): JSX.Element {
  const { value, fault, code, again } = useJson<{ readonly campaigns: readonly CampaignView[] }>(
    '/api/campaigns',
    CAMPAIGNS_MS,
  )
  const [failed, setFailed] = useState<string | null>(null)
  const command = (id: string, name: Asked): void => {
    post(`/api/campaigns/${encodeURIComponent(id)}/${name}`).then(
      () => {
        setFailed(null)
        again()
      },
      (thrown: unknown) => setFailed(T.failed(messageOf(thrown))),
    )
  }
  return (
    <section aria-labelledby="campaigns-title">
      <div class="bar">
        <h1 id="campaigns-title">{T.campaigns.title}</h1>
        <span class="gap" />
        {value !== null && (
          <a href="/api/campaigns/call-backs/report.csv" download="call-backs.csv">
            {T.campaigns.callBacks}
          </a>
        )}
      </div>
      {code === 'CALL_REFUSED' ? <p class="empty">{T.campaigns.noKey}</p> : <Pending value={value} fault={fault} />}
      {failed !== null && <Notice kind="fault">{failed}</Notice>}
      {act && value !== null && <NewCampaign agents={agents} onMade={again} />}
      {value?.campaigns.length === 0 && <p class="empty">{T.campaigns.none}</p>}
      {value !== null && value.campaigns.length > 0 && (
        <Table
          class="calls"
          labelledBy="campaigns-title"
          heads={[
            T.campaigns.name,
            T.campaigns.state,
            T.campaigns.progress,
            { name: T.campaigns.results, class: 'wide' },
            { name: T.campaigns.agent, class: 'wide' },
            { name: T.campaigns.window, class: 'wide' },
            { name: T.campaigns.created, class: 'wide' },
            { name: T.campaigns.actions, class: 'number', hidden: true },
          ]}
        >
          {value.campaigns.toReversed().map((campaign) => (
            <CampaignRow
              key={campaign.id}
              campaign={campaign}
              act={act}
              command={(name) => command(campaign.id, name)}
            />
          ))}
        </Table>
      )}
      <p class="muted explain">{T.campaigns.why}</p>
    </section>
  )
}

function CampaignRow(props: {
  readonly campaign: CampaignView
  readonly act: boolean
  readonly command: (name: Asked) => void
}): JSX.Element {
  const { campaign, act, command } = props
  const { id, name, agent, stands, why, rows, waiting, calling, results, window, timeZone, createdAt } = campaign
  const over = Math.max(0, rows - waiting - calling)
  const counts = Object.entries(results).map(([result, count]) => `${T.campaigns.resultOf[result] ?? result} ${count}`)
  return (
    <tr>
      <td>{name}</td>
      <td>
        <Chip kind={KINDS[stands]}>{T.campaigns.states[stands]}</Chip>{' '}
        {why !== null && <span class="muted">{why}</span>}
      </td>
      <td>
        <span class="load">
          <meter min={0} max={Math.max(1, rows)} value={over} aria-label={`${T.campaigns.progress}: ${name}`} />
          <span>{T.campaigns.over(over, rows, calling)}</span>
        </span>
      </td>
      <td class="wide">{counts.join(', ') || '–'}</td>
      <td class="wide">{agent}</td>
      <td class="wide">
        {window} {timeZone}
      </td>
      <td class="wide">{whenOf(createdAt)}</td>
      <td class="number actions">
        {act &&
          ALLOWED[stands].map((one) =>
            SURE.includes(one) ? (
              <SureButton key={one} class="small" label={T.campaigns.commands[one]} onSure={() => command(one)} />
            ) : (
              <button key={one} type="button" class="small" onClick={() => command(one)}>
                {T.campaigns.commands[one]}
              </button>
            ),
          )}
        <a class="button small" href={`/api/campaigns/${encodeURIComponent(id)}/report.csv`} download={`${id}.csv`}>
          {T.campaigns.report}
        </a>
      </td>
    </tr>
  )
}
