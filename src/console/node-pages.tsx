import { Fragment } from 'preact'
import type { JSX } from 'preact'
import { useState } from 'preact/hooks'
import type { FleetStatus } from '../fleet/fleet-status.js'
import { post, useJson, messageOf } from './api.js'
import { whenOf } from './format.js'
import { Chip, Notice, Pending, SureButton, Table } from './parts.js'
import { T } from './strings.js'

/** Polling interval for the state of the nodes while its page is open. */
const FLEET_MS = 2000

type Command = 'drain' | 'cordon' | 'uncordon'

/** Page of the fleet's nodes: their state, their remaining capacity, and the operator's commands. */
export function FleetPage({ act }: { readonly act: boolean }): JSX.Element {
  const { value, fault, again } = useJson<FleetStatus>('/api/fleet', FLEET_MS)
  const [note, setNote] = useState<string | null>(null)
  const command = (name: Command, node: string): void => {
    post(`/api/${name}`, { node }).then(
      () => {
        setNote(T.fleet.asked(T.fleet[name], node))
        again()
      },
      (thrown: unknown) => setNote(T.failed(messageOf(thrown))),
    )
  }
  return (
    <section aria-labelledby="fleet-title">
      <div class="bar">
        <h1 id="fleet-title">{T.fleet.title}</h1>
        {value !== null && (
          <span class="muted">
            {T.fleet.store}: {value.store.url ?? value.store.home}, {value.store.up ? T.fleet.up : T.fleet.down}
          </span>
        )}
      </div>
      <Pending value={value} fault={fault} />
      {note !== null && <Notice>{note}</Notice>}
      {value?.alerts.map((alert) => (
        <Notice key={alert} kind="fault">
          {alert}
        </Notice>
      ))}
      {value !== null && (
        <>
          <Table
            class="calls"
            labelledBy="fleet-title"
            heads={[
              T.fleet.node,
              T.fleet.state,
              T.fleet.calls,
              { name: T.fleet.free, class: 'wide number' },
              { name: T.fleet.version, class: 'wide' },
              { name: T.fleet.started, class: 'wide' },
              { name: T.fleet.ops, class: 'wide' },
              { name: T.fleet.actions, class: 'number', hidden: true },
            ]}
          >
            {value.nodes.map((node) => (
              <NodeRow key={node.name} node={node} act={act} command={(name) => command(name, node.name)} />
            ))}
          </Table>
          <p class="muted explain">{T.fleet.drainWhy}</p>
        </>
      )}
    </section>
  )
}

function NodeRow(props: {
  readonly node: FleetStatus['nodes'][number]
  readonly act: boolean
  readonly command: (name: Command) => void
}): JSX.Element {
  const { node, act, command } = props
  const { name, self, state, reason, live, free, capacity, version, startedAt, opsUrl } = node
  const kind = state === 'open' ? 'good' : state === 'suspect' || state === 'not-ready' ? 'bad' : 'waiting'
  return (
    <tr>
      <td>
        {name} {self && <span class="muted">{T.fleet.here}</span>}
      </td>
      <td>
        <Chip kind={kind}>{state}</Chip> {reason !== null && <span class="muted">{reason}</span>}
      </td>
      <td>
        <span class="load">
          <meter min={0} max={Math.max(1, capacity)} value={live} aria-label={`${T.fleet.calls}: ${name}`} />
          <span>
            {live} / {capacity}
          </span>
        </span>
      </td>
      <td class="wide number">{free}</td>
      <td class="wide">{version}</td>
      <td class="wide">{whenOf(startedAt)}</td>
      <td class="wide">{opsUrl === null ? '–' : <a href={opsUrl}>{opsUrl}</a>}</td>
      <td class="number actions">
        {act && state !== 'draining' && (
          <>
            {state === 'cordoned' ? (
              <button type="button" class="small" onClick={() => command('uncordon')}>
                {T.fleet.uncordon}
              </button>
            ) : (
              <button type="button" class="small" onClick={() => command('cordon')}>
                {T.fleet.cordon}
              </button>
            )}
            <SureButton class="small" label={T.fleet.drain} onSure={() => command('drain')} />
          </>
        )}
      </td>
    </tr>
  )
}

/** Settings of this process. For secrets, only whether they are set is shown. */
export function SettingsPage(): JSX.Element {
  const { value, fault } = useJson<{ readonly settings: Readonly<Record<string, unknown>> }>('/api/settings')
  const [filter, setFilter] = useState('')
  const shown = Object.entries(value?.settings ?? {}).filter(([name]) =>
    name.toLowerCase().includes(filter.trim().toLowerCase()),
  )
  return (
    <section aria-labelledby="settings-title">
      <div class="bar">
        <h1 id="settings-title">{T.settings.title}</h1>
        <span class="muted">{T.settings.why}</span>
        <span class="gap" />
        <input
          type="search"
          aria-label={T.calls.filter}
          placeholder={T.calls.filter}
          value={filter}
          onInput={(event) => setFilter(event.currentTarget.value)}
        />
      </div>
      <Pending value={value} fault={fault} />
      {value !== null && (
        <Table class="settings" labelledBy="settings-title" heads={[T.settings.name, T.settings.value]}>
          {shown.map(([name, held]) => (
            <tr key={name}>
              <td class="mono">
                <Words of={name} />
              </td>
              <td class="mono">{textOf(held)}</td>
            </tr>
          ))}
        </Table>
      )}
    </section>
  )
}

/** A name such as `RECORDS_KEEP_DAYS`. The browser may break the line before each of its words. */
function Words({ of: name }: { readonly of: string }): JSX.Element {
  return (
    <>
      {name.split(/(?<=_)/).map((word, index) => (
        <Fragment key={index}>
          {index > 0 && <wbr />}
          {word}
        </Fragment>
      ))}
    </>
  )
}

/** True for the value of LOG_LEVEL, which is shown like an operator writes it. */
function isLevels(value: unknown): value is { level: string; components: Readonly<Record<string, string>> } {
  return typeof value === 'object' && value !== null && 'level' in value && 'components' in value
}

function textOf(value: unknown): string {
  if (value === null || value === undefined || value === '' || value === '[not set]') return T.settings.unset
  if (isLevels(value))
    return [value.level, ...Object.entries(value.components).map(([name, level]) => `${name}=${level}`)].join(',')
  if (Array.isArray(value)) return value.length === 0 ? T.settings.unset : value.map(textOf).join(', ')
  return typeof value === 'string' ? value : JSON.stringify(value)
}
