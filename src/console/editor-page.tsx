import type { CheckedText, EditedList, OpenedText, Publication, TriableDraft } from '../edge/options.js'
import type { JSX } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { ApiFault, messageOf, post, useJson } from './api.js'
import { whenOf } from './format.js'
import { inTextarea, withLineEnds } from './line-ends.js'
import { Chip, Notice, Pending, SureButton, Table } from './parts.js'
import { T } from './strings.js'

type TextFault = CheckedText['faults'][number]

/** Draft that the softphone can call. */
export interface TriedDraft {
  readonly id: string
  readonly file: string
  readonly agent: string
  readonly version: string
}

/**
 * Changed texts that are not published, by file. They are kept until the tab is closed. `shown`: the text in the form
 * of the textarea.
 */
const unsaved = new Map<string, { readonly shown: string; readonly opened: OpenedText }>()

interface EditorProps {
  readonly file: string
  readonly tried: TriedDraft | null
  readonly onTry: (draft: TriedDraft | null) => void
}

/** Editor for the text of an agent. The text is checked, tried and published as a whole. */
export function EditorPage({ file, tried, onTry }: EditorProps): JSX.Element {
  const [opened, setOpened] = useState<OpenedText | null>(unsaved.get(file)?.opened ?? null)
  const [shown, setShown] = useState(unsaved.get(file)?.shown ?? '')
  const [fault, setFault] = useState<string | null>(null)
  const [busy, setBusy] = useState<string | null>(null)
  const [faults, setFaults] = useState<readonly TextFault[]>([])
  const [good, setGood] = useState<string | null>(null)
  const [changes, setChanges] = useState<string | null>(null)
  const [outcome, setOutcome] = useState<Publication | null>(null)
  const list = useJson<EditedList>('/api/editor')
  const area = useRef<HTMLTextAreaElement>(null)
  const text = withLineEnds(opened?.text ?? '', shown)
  const isChanged = opened !== null && opened.text !== null && text !== opened.text

  const forget = (): void => {
    setFaults([])
    setGood(null)
    setFault(null)
    setOutcome(null)
    setChanges(null)
  }
  const load = async (version: string | null): Promise<void> => {
    const got = (await post('/api/editor/open', { file, version })) as OpenedText
    unsaved.delete(file)
    forget()
    setOpened(got)
    setShown(inTextarea(got.text ?? ''))
  }
  useEffect(() => {
    if (opened === null) open(null)
  }, [file])
  useEffect(() => {
    if (opened !== null && isChanged) unsaved.set(file, { shown, opened })
    else unsaved.delete(file)
    const ask = (event: BeforeUnloadEvent): void => {
      if (isChanged) event.preventDefault()
    }
    addEventListener('beforeunload', ask)
    return () => removeEventListener('beforeunload', ask)
  }, [shown, opened])

  /** Runs a task. The text cannot be edited until the task is done. */
  const work = (what: string, task: () => Promise<void>): void => {
    forget()
    setBusy(what)
    task()
      .catch(async (thrown: unknown) => {
        if (thrown instanceof ApiFault && thrown.code === 'AGENT_CHANGED') setChanges(await differenceOf(file, opened))
        else setFault(messageOf(thrown))
      })
      .finally(() => setBusy(null))
  }
  const open = (version: string | null): void => work(T.editor.opening, () => load(version))
  const check = (): void =>
    work(T.editor.checking, async () => {
      const found = (await post('/api/editor/check', { file, text })) as CheckedText
      setFaults(found.faults)
      if (found.agent !== null) setGood(T.editor.good(found.agent, found.version ?? ''))
    })
  const attempt = (): void =>
    work(T.editor.checking, async () => {
      const { id, ...found } = (await post('/api/editor/draft', { file, text })) as TriableDraft
      setFaults(found.faults)
      onTry(id === null ? null : { id, file, agent: found.agent ?? '', version: found.version ?? '' })
    })
  const publish = (): void =>
    work(T.editor.publishing, async () => {
      // The base is the current text even if an earlier text was opened, because the publication replaces the current
      // text.
      const base = opened?.current
      const done = (await post('/api/editor/publish', { file, text, base })) as Publication
      setFaults(done.faults)
      if (!done.published) return
      onTry(null)
      await load(null)
      setOutcome(done)
      list.again()
    })
  const isEarlier = opened !== null && opened.hash !== opened.current
  const lacking = (list.value?.nodes ?? []).some((node) => node.why === null && hashAt(node, file) !== opened?.current)
  return (
    <section aria-labelledby="editor-title">
      <div class="bar">
        <h1 id="editor-title">{T.editor.title(file)}</h1>
        <span class="gap" />
        <a href="#/agents">{T.editor.back}</a>
      </div>
      {opened === null && <Pending value={null} fault={fault} />}
      {opened !== null && (
        <>
          <div class="bar">
            <Versions opened={opened} disabled={isChanged || busy !== null} onOpen={open} />
            {isChanged && <Chip kind="waiting">{T.editor.changed}</Chip>}
            {isChanged && (
              <SureButton label={T.editor.discard} onSure={() => setShown(inTextarea(opened.text ?? ''))} />
            )}
          </div>
          {isEarlier && <Notice>{T.editor.older(opened.hash)}</Notice>}
          {opened.refusal !== null && <Notice kind="fault">{T.editor.refused(opened.refusal)}</Notice>}
        </>
      )}
      {opened !== null && opened.text !== null && (
        <>
          <TextArea
            area={area}
            text={shown}
            faults={faults}
            readOnly={busy !== null}
            onText={(next) => {
              setShown(next)
              setGood(null)
            }}
          />
          <p class="muted" id="editor-keys">
            {T.editor.keys} {isChanged && T.editor.unsaved}
          </p>
          <div class="bar">
            <button type="button" disabled={busy !== null} onClick={check}>
              {T.editor.check}
            </button>
            <button type="button" disabled={busy !== null} onClick={attempt}>
              {T.editor.attempt}
            </button>
            {tried !== null && (
              <button type="button" onClick={() => onTry(null)}>
                {T.editor.stop}
              </button>
            )}
            <SureButton
              label={isEarlier && !isChanged ? T.editor.rollBack : T.editor.publish}
              disabled={busy !== null || (!isChanged && !isEarlier)}
              class="primary"
              onSure={publish}
            />
            {lacking && !isChanged && !isEarlier && (
              <SureButton label={T.editor.again} disabled={busy !== null} onSure={publish} />
            )}
          </div>
          <div aria-live="polite">
            {busy !== null && <p class="muted">{busy}</p>}
            {good !== null && <Notice>{good}</Notice>}
            {outcome !== null && <Outcome outcome={outcome} />}
            {tried !== null && <Notice>{T.editor.trying(tried.agent, tried.version)}</Notice>}
          </div>
          {fault !== null && <Notice kind="fault">{fault}</Notice>}
          {changes !== null && <Changed what={changes} onOpen={() => open(null)} />}
          {faults.length > 0 && <Faults faults={faults} onGo={(one) => goTo(area.current, shown, one)} />}
        </>
      )}
      {list.value !== null && opened !== null && <Nodes list={list.value} file={file} opened={opened} />}
    </section>
  )
}

function Changed({ what, onOpen }: { readonly what: string; readonly onOpen: () => void }): JSX.Element {
  return (
    <Notice kind="fault">
      {what} <SureButton label={T.editor.open} class="small" onSure={onOpen} />
    </Notice>
  )
}

/** Describes the changes of the file since its text was opened. */
async function differenceOf(file: string, opened: OpenedText | null): Promise<string> {
  const now = await post('/api/editor/open', { file, version: null }).then(
    (answer) => (answer as OpenedText).text,
    () => null, // without the new text, the page shows only that the file has changed
  )
  // The changed lines are not shown for an earlier text, because they would include all later edits.
  if (opened?.text == null || now === null || opened.hash !== opened.current) return T.editor.isNow
  const [from, to] = changedLines(opened.text, now)
  return `${T.editor.isNow} ${T.editor.differs(from, to)}`
}

/** Choice of the version to show: the current version or a stored version. */
function Versions(props: {
  readonly opened: OpenedText
  readonly disabled: boolean
  /** Called with the chosen version; null for the current version. */
  readonly onOpen: (version: string | null) => void
}): JSX.Element {
  const { opened, disabled, onOpen } = props
  return (
    <label>
      {T.editor.version}{' '}
      <select
        value={opened.hash}
        disabled={disabled}
        onChange={(event) => {
          const { value } = event.currentTarget
          onOpen(value === opened.current ? null : value)
        }}
      >
        <option value={opened.current}>{T.editor.current(opened.current)}</option>
        {opened.versions
          .filter(({ hash }) => hash !== opened.current)
          .map(({ hash, atMs }) => (
            <option key={hash} value={hash}>
              {T.editor.kept(hash, whenOf(new Date(atMs).toISOString()))}
            </option>
          ))}
      </select>
    </label>
  )
}

function Faults(props: {
  readonly faults: readonly TextFault[]
  readonly onGo: (fault: TextFault) => void
}): JSX.Element {
  const { faults, onGo } = props
  return (
    <div role="alert">
      <h2>{T.editor.faults(faults.length)}</h2>
      <ul class="faults">
        {faults.map((one, index) => (
          <li key={index}>
            <button type="button" class="plain mono" onClick={() => onGo(one)}>
              {one.line}:{one.col}
            </button>{' '}
            {one.what}
          </li>
        ))}
      </ul>
    </div>
  )
}

/** Moves the cursor in `at`, which contains `text`, to a fault. */
function goTo(at: HTMLTextAreaElement | null, text: string, { line, col }: TextFault): void {
  if (at === null) return
  const start =
    text
      .split('\n')
      .slice(0, line - 1)
      .join('\n').length + (line > 1 ? 1 : 0)
  at.focus()
  at.setSelectionRange(start + col - 1, start + col - 1)
  at.scrollTop = Math.max(0, (line - 4) * Number.parseFloat(getComputedStyle(at).lineHeight))
}

/** The text with its line numbers. Lines that have a fault are marked. */
function TextArea(props: {
  readonly area: { current: HTMLTextAreaElement | null }
  readonly text: string
  readonly faults: readonly TextFault[]
  readonly readOnly: boolean
  readonly onText: (text: string) => void
}): JSX.Element {
  const { area, text, faults, readOnly, onText } = props
  const numbers = useRef<HTMLDivElement>(null)
  const marked = new Set(faults.map(({ line }) => line))
  const lines = text.split('\n').length
  return (
    <div class="editor">
      <div class="line-numbers" ref={numbers} aria-hidden="true">
        {Array.from({ length: lines }, (_, index) => (
          <span key={index} class={marked.has(index + 1) ? 'marked' : undefined}>
            {index + 1}
          </span>
        ))}
      </div>
      <textarea
        ref={area}
        value={text}
        readOnly={readOnly}
        wrap="off"
        spellcheck={false}
        autocomplete="off"
        autocapitalize="off"
        aria-label={T.editor.text}
        aria-describedby="editor-keys"
        aria-invalid={faults.length > 0}
        onInput={(event) => onText(event.currentTarget.value)}
        onScroll={(event) => {
          if (numbers.current !== null) numbers.current.scrollTop = event.currentTarget.scrollTop
        }}
      />
    </div>
  )
}

function Outcome({ outcome: { hash, nodes } }: { readonly outcome: Publication }): JSX.Element {
  return (
    <>
      <Notice>{T.editor.published(hash)}</Notice>
      {nodes.map(({ name, outcome, inUse, why }) =>
        outcome !== 'published' ? (
          <Notice key={name} kind="fault">
            {T.editor.notAt(name ?? T.editor.here, why ?? '')}
          </Notice>
        ) : inUse ? null : (
          <Notice key={name} kind="fault">
            {T.editor.notAt(name ?? T.editor.here, T.editor.notInUse)}
          </Notice>
        ),
      )}
    </>
  )
}

/** Texts and versions of a file at all nodes. */
function Nodes(props: { readonly list: EditedList; readonly file: string; readonly opened: OpenedText }): JSX.Element {
  const { list, file, opened } = props
  return (
    <Table class="settings" label={T.editor.nodes} heads={[T.editor.node, T.editor.hash, T.editor.inUse]}>
      {list.nodes.map((node) => {
        const hash = hashAt(node, file)
        return (
          <tr key={node.name}>
            <td>{node.name ?? T.editor.here}</td>
            <td>
              {node.why !== null ? (
                <Chip kind="bad">{node.why}</Chip>
              ) : (
                <>
                  <span class="mono">{hash ?? T.editor.none}</span>{' '}
                  {hash !== opened.current && <Chip kind="bad">{T.editor.other}</Chip>}
                </>
              )}
            </td>
            <td class="mono">
              {node.agents.flatMap(({ name, version, canary }) =>
                name === opened.agent ? [version, ...(canary === null ? [] : [T.editor.canary(canary)])] : [],
              )}
            </td>
          </tr>
        )
      })}
    </Table>
  )
}

function hashAt({ files }: EditedList['nodes'][number], file: string): string | null {
  return files.find((one) => one.file === file)?.hash ?? null
}

/** First and last line of `now`, counted from 1, that differ from `before`. */
function changedLines(before: string, now: string): readonly [number, number] {
  const [a, b] = [inTextarea(before).split('\n'), inTextarea(now).split('\n')]
  let from = 0
  while (from < b.length && a[from] === b[from]) from++
  let end = 0
  while (end < b.length - from && a.at(-1 - end) === b.at(-1 - end)) end++
  return [Math.min(from + 1, b.length), Math.max(from + 1, b.length - end)]
}
