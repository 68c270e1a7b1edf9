import type { JSX } from 'preact'
import { useState } from 'preact/hooks'
import type { AgentsView } from '../agents/file/agent-view.js'
import type { TrialResult } from '../agents/tools/rehearsal.js'
import { post, postForBytes, useJson, messageOf } from './api.js'
import { Panel } from './call-page.js'
import { Chip, Notice, Pending, SureButton, Table, fieldOf, submits } from './parts.js'
import { T } from './strings.js'

type AgentView = AgentsView['agents'][number]
type ToolView = AgentView['tools'][number]
type ArgumentView = ToolView['arguments'][string]

const STATE_CHIPS = { used: 'good', unused: 'waiting', faulty: 'bad' } as const

/**
 * Page of this node's agents. It shows the texts in the node's folder, the versions that new calls use, and each tool
 * with a form to try it.
 */
export function AgentsPage({
  name,
  act,
  edits,
}: {
  readonly name: string
  readonly act: boolean
  readonly edits: boolean
}): JSX.Element {
  const { value, fault, again } = useJson<AgentsView>('/api/agents')
  const agent = value?.agents.find((one) => one.name === name) ?? value?.agents[0]
  const { instructions = '' } = (agent?.definition ?? {}) as { readonly instructions?: string }
  return (
    <section aria-labelledby="agents-title">
      <div class="bar">
        <h1 id="agents-title">{T.agents.title}</h1>
        {value !== null && <span class="muted">{value.watched ? T.agents.watched : T.agents.notWatched}</span>}
        <span class="gap" />
        <button type="button" onClick={again}>
          {T.agents.again}
        </button>
      </div>
      <Pending value={value} fault={fault} />
      {value !== null && value.folderFault !== null && <Notice kind="fault">{value.folderFault}</Notice>}
      {value !== null && value.files.length > 0 && <Files files={value.files} edits={edits} />}
      {value !== null && agent !== undefined && (
        <>
          <div class="bar picked">
            <label>
              {T.agents.agent}{' '}
              <select
                value={agent.name}
                onChange={(event) => {
                  location.hash = `#/agents/${event.currentTarget.value}`
                }}
              >
                {value.agents.map((one) => (
                  <option key={one.name}>{one.name}</option>
                ))}
              </select>
            </label>
            <span class="muted">
              {T.agents.facts(agent.languages.join(', '), agent.backends.join(', '), agent.knowledgePassages)}{' '}
              <span class="mono">{agent.version}</span>
              {agent.canary !== null && (
                <>
                  {' '}
                  {T.agents.canary(agent.canary.percent)} <span class="mono">{agent.canary.version}</span>
                  {agent.canary.stopped !== null && ` ${T.agents.canaryStopped(agent.canary.stopped)}`}
                </>
              )}
            </span>
          </div>
          {agent.modelEnds.map((end) => (
            <Notice key={end} kind="fault">
              {end}
            </Notice>
          ))}
          {agent.description !== '' && <p class="muted explain">{agent.description}</p>}
          {instructions !== '' && (
            <Panel title={T.agents.instructions}>
              <div class="wrapped" tabIndex={0} role="region" aria-label={T.agents.instructions}>
                {instructions}
              </div>
            </Panel>
          )}
          {act && <SayIt key={agent.name} agent={agent.name} />}
          {agent.tools.length === 0 && <p class="muted explain">{T.agents.noTools}</p>}
          {agent.tools.map((tool) => (
            <ToolPanel key={`${agent.name} ${tool.name}`} agent={agent} tool={tool} act={act} />
          ))}
          <Panel title={T.agents.definition} aside={<span class="muted">{T.agents.redacted}</span>}>
            <details>
              <summary>{T.agents.show}</summary>
              <pre class="mono wrapped" tabIndex={0}>
                {JSON.stringify(agent.definition, null, 2)}
              </pre>
            </details>
          </Panel>
        </>
      )}
    </section>
  )
}

/** Plays a phrase in the agent's voice. */
function SayIt({ agent }: { readonly agent: string }): JSX.Element {
  const [fault, setFault] = useState<string | null>(null)
  const [busy, setBusy] = useState(false)
  const say = async (text: string): Promise<void> => {
    const wav = await postForBytes(`/api/agents/${agent}/say`, { text })
    const url = URL.createObjectURL(new Blob([wav], { type: 'audio/wav' }))
    const audio = new Audio(url)
    audio.onended = () => URL.revokeObjectURL(url)
    await audio.play()
  }
  return (
    <form
      class="bar"
      onSubmit={submits((form) => {
        setBusy(true)
        setFault(null)
        say(fieldOf(form, 'phrase'))
          .catch((thrown: unknown) => setFault(T.failed(messageOf(thrown))))
          .finally(() => setBusy(false))
      })}
    >
      <label>
        {T.agents.phrase} <input name="phrase" required maxLength={300} autocomplete="off" />
      </label>
      <button disabled={busy}>{T.agents.say}</button>
      {fault !== null && <Notice kind="fault">{fault}</Notice>}
    </form>
  )
}

function Files({ files, edits }: Pick<AgentsView, 'files'> & { readonly edits: boolean }): JSX.Element {
  return (
    <Table
      class="settings"
      label={T.agents.folder}
      heads={[
        T.agents.file,
        T.agents.agent,
        T.agents.validation,
        ...(edits ? [{ name: T.agents.edit, hidden: true }] : []),
      ]}
    >
      {files.map(({ file, agent, state, faults }) => (
        <tr key={file}>
          <td class="mono">{file}</td>
          <td>{agent === null ? '–' : <a href={`#/agents/${agent}`}>{agent}</a>}</td>
          <td>
            <Chip kind={faults.length > 0 ? 'bad' : STATE_CHIPS[state]}>{T.agents.states[state]}</Chip>
            {faults.map(({ line, col, what }, index) => (
              <p key={index} class="mono">
                {line}:{col} {what}
              </p>
            ))}
          </td>
          {edits && (
            <td>
              {/\.ya?ml$/.test(file) && (
                <a class="button small" href={`#/edit/${encodeURIComponent(file)}`} aria-label={T.agents.editOf(file)}>
                  {T.agents.edit}
                </a>
              )}
            </td>
          )}
        </tr>
      ))}
    </Table>
  )
}

interface ToolPanelProps {
  readonly agent: Pick<AgentView, 'name' | 'hasSampleIdentity'>
  readonly tool: ToolView
  readonly act: boolean
}

function ToolPanel({ agent, tool, act }: ToolPanelProps): JSX.Element {
  const [result, setResult] = useState<TrialResult | null>(null)
  const [fault, setFault] = useState<string | null>(null)
  const [trying, setTrying] = useState(false)
  const [form, setForm] = useState<HTMLFormElement | null>(null)
  const required = (tool.parameters['required'] ?? []) as readonly string[]
  const own = Object.entries(tool.arguments).filter(([name]) => !tool.bound.includes(name))

  const attempt = (send: boolean): void => {
    if (form?.reportValidity() !== true) return
    const args: Record<string, unknown> = {}
    for (const [name, schema] of own) {
      const text = fieldOf(form, `arg-${name}`)
      if (text === '') continue
      const value = valueOf(text, schema)
      if (value === undefined) return setFault(T.agents.notJson(name))
      args[name] = value
    }
    const from = fieldOf(form, 'from')
    const withheld = fieldOf(form, 'withheld') !== ''
    setTrying(true)
    setFault(null)
    setResult(null)
    post(`/api/agents/${agent.name}/tools/${tool.name}`, {
      args,
      ...(withheld ? { from: '' } : from === '' ? {} : { from }),
      verified: fieldOf(form, 'verified') !== '',
      send,
    })
      .then(
        (got) => setResult(got as TrialResult),
        (thrown: unknown) => setFault(T.failed(messageOf(thrown))),
      )
      .finally(() => setTrying(false))
  }

  return (
    <Panel
      title={tool.name}
      aside={
        <span>
          {tool.verifiedOnly && <Chip kind="waiting">{T.agents.verifiedOnly}</Chip>}{' '}
          {tool.changes && <Chip kind="waiting">{T.agents.changes}</Chip>}{' '}
          <code>{tool.request ?? T.agents.inside}</code>
        </span>
      }
    >
      <p class="explain">{tool.description}</p>
      <form class="trial" ref={setForm} onSubmit={submits(() => attempt(false))}>
        {own.map(([name, schema]) => (
          <label key={name} title={schema.description}>
            <span>
              <code>{name}</code> <span class="muted">{kindOf(schema, required.includes(name))}</span>
            </span>
            <Argument
              name={`arg-${name}`}
              schema={schema}
              value={tool.sample[name]}
              required={required.includes(name)}
            />
          </label>
        ))}
        <label>
          {T.agents.from}
          <input name="from" type="tel" placeholder={T.agents.fromHint} pattern="\+?[0-9]{7,15}" />
        </label>
        <label class="check">
          <input type="checkbox" name="withheld" /> {T.agents.withheld}
        </label>
        {agent.hasSampleIdentity && (
          <label class="check">
            <input type="checkbox" name="verified" defaultChecked={tool.verifiedOnly} /> {T.agents.verified}
          </label>
        )}
        {act ? (
          <div class="bar">
            <button class="primary" disabled={trying}>
              {tool.changes ? T.agents.build : T.agents.attempt}
            </button>
            {tool.changes && <SureButton label={T.agents.send} disabled={trying} onSure={() => attempt(true)} />}
            {tool.bound.length > 0 && <span class="muted">{T.agents.bound(tool.bound.join(', '))}</span>}
          </div>
        ) : (
          <p class="muted">{T.agents.readOnly}</p>
        )}
      </form>
      <div aria-live="polite">
        {trying && <p class="muted">{T.agents.trying}</p>}
        {fault !== null && <Notice kind="fault">{fault}</Notice>}
        {result !== null && <Result result={result} />}
      </div>
    </Panel>
  )
}

function Argument(props: {
  readonly name: string
  readonly schema: ArgumentView
  readonly value: unknown
  readonly required: boolean
}): JSX.Element {
  const { name, schema, value, required } = props
  const text = value === undefined ? '' : typeof value === 'string' ? value : JSON.stringify(value)
  const choices = schema.enum?.map(String) ?? (schema.type === 'boolean' ? ['true', 'false'] : null)
  if (choices !== null)
    return (
      <select name={name} required={required}>
        <option value="" selected={text === ''}>
          {T.agents.none}
        </option>
        {choices.map((choice) => (
          <option key={choice} selected={choice === text}>
            {choice}
          </option>
        ))}
      </select>
    )
  if (schema.type === 'array' || schema.type === 'object')
    return <textarea name={name} rows={3} class="mono" defaultValue={text} required={required} placeholder="JSON" />
  return (
    <input
      name={name}
      defaultValue={text}
      required={required}
      inputMode={schema.type === 'string' ? 'text' : 'decimal'}
      autocomplete="off"
    />
  )
}

/**
 * Value of a form's field; undefined if the field needs JSON and its text is not JSON. The value is not checked
 * further, because the gateway refuses a wrong value.
 */
function valueOf(text: string, { type, enum: choices }: ArgumentView): unknown {
  if (type === 'string') return choices?.find((choice) => String(choice) === text) ?? text
  try {
    return JSON.parse(text) as unknown
  } catch {
    return type === 'array' || type === 'object' ? undefined : text
  }
}

function kindOf({ type, pattern }: ArgumentView, required: boolean): string {
  return [type, pattern, required ? T.agents.required : null].filter((part) => part != null).join(', ')
}

function Result({ result }: { readonly result: TrialResult }): JSX.Element {
  const { dry, ok, request, ms, value, code, error } = result
  const where = request === null ? '' : T.agents.where(request.method, request.host, request.bodyChars)
  return (
    <>
      <p class="status">
        <Chip kind={ok === false ? 'bad' : dry ? 'waiting' : 'good'}>
          {ok === false ? (code ?? T.agents.failed) : dry ? T.agents.dry : T.agents.done(ms)}
        </Chip>{' '}
        {where} {error}
      </p>
      {!dry && (
        <pre class="mono wrapped" tabIndex={0} aria-label={T.agents.answer}>
          {JSON.stringify(value, null, 2)}
        </pre>
      )}
    </>
  )
}
