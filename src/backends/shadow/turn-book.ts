import { sameJson } from '../../call/tool-ledger.js'
import { BACKEND_ITEMS_KEPT, SHADOW_TEXT_CHARS_MAX, SHADOW_TURNS_MAX, TOOLS_RUNNING_MAX } from '../../core/limits.js'
import type { BackendEvent } from '../backend.js'
import type { ShadowSide, ShadowTurn } from './report.js'

interface Side {
  readonly callerTexts: Map<string, string>
  readonly agentTexts: Map<string, string>
  soundMs: number | null
  actMs: number | null
  audioMs: number
  readonly tools: { readonly name: string; readonly args: Readonly<Record<string, unknown>> }[]
  answered: boolean
  failed: boolean
}

interface Turn {
  readonly asked: ShadowTurn['asked']
  askedAtMs: number
  readonly primary: Side
  readonly second: Side
}

/**
 * The turns of a call as two backends took them. A turn begins when something is asked after the primary answered what was
 * asked before; answers belong to the turn in which they begin.
 */
export class TurnBook {
  turnsDropped = 0
  readonly #turns: Turn[] = []
  readonly #generations = { primary: new Map<number, Turn>(), second: new Map<number, Turn>() }

  asked(what: ShadowTurn['asked'], nowMs: number): void {
    const current = this.#turns.at(-1)
    if (current !== undefined && !current.primary.answered && current.primary.actMs === null) {
      // A caller who goes on after a pause asks one thing.
      current.askedAtMs = nowMs
      return
    }
    this.#turns.push({ asked: what, askedAtMs: nowMs, primary: freshSide(), second: freshSide() })
    if (this.#turns.length <= SHADOW_TURNS_MAX) return
    this.#turns.shift()
    this.turnsDropped++
  }

  audio(side: 'primary' | 'second', generation: number, ms: number, nowMs: number): void {
    const turn = this.#turnOf(side, generation)
    if (turn === undefined) return
    const one = turn[side]
    one.soundMs ??= nowMs - turn.askedAtMs
    one.actMs ??= nowMs - turn.askedAtMs
    one.audioMs += ms
  }

  event(side: 'primary' | 'second', event: BackendEvent, nowMs: number): void {
    switch (event.type) {
      case 'turn-start':
        this.#turnOf(side, event.generation)
        return
      case 'transcript': {
        // The caller's words may come after the answer to them began, and carry its number.
        const turn = event.role === 'caller'
          ? this.#generations[side].get(event.generation) ?? this.#turns.at(-1)
          : this.#turnOf(side, event.generation)
        const texts = event.role === 'caller' ? turn?.[side].callerTexts : turn?.[side].agentTexts
        if (texts !== undefined && (texts.size < TOOLS_RUNNING_MAX || texts.has(event.itemId))) {
          texts.set(event.itemId, event.text.slice(0, SHADOW_TEXT_CHARS_MAX))
        }
        return
      }
      case 'tool-call': {
        const turn = this.#turnOf(side, event.generation)
        if (turn === undefined) return
        turn[side].actMs ??= nowMs - turn.askedAtMs
        if (turn[side].tools.length < TOOLS_RUNNING_MAX) turn[side].tools.push({ name: event.name, args: event.args })
        return
      }
      case 'turn-done': {
        const turn = this.#turnOf(side, event.generation)
        if (turn === undefined) return
        if (event.status === 'failed') turn[side].failed = true
        // An answer that only called tools is followed by the one that they make.
        if (turn[side].soundMs !== null || turn[side].tools.length === 0) turn[side].answered = true
        return
      }
      default:
        return
    }
  }

  report(): ShadowTurn[] {
    return this.#turns.map(({ asked, primary, second }) => {
      const [a, b] = [sideOf(primary), sideOf(second)]
      return {
        asked, primary: a, second: b,
        soundDifferenceMs: a.soundMs === null || b.soundMs === null ? null : b.soundMs - a.soundMs,
        sameTools: sameTools(a.tools, b.tools),
        sameCallerText: plain(a.callerText) === plain(b.callerText),
      }
    })
  }

  #turnOf(side: 'primary' | 'second', generation: number): Turn | undefined {
    const known = this.#generations[side].get(generation)
    if (known !== undefined) return known
    const turn = this.#turns.at(-1)
    if (turn === undefined) return undefined
    const generations = this.#generations[side]
    generations.set(generation, turn)
    if (generations.size > BACKEND_ITEMS_KEPT) {
      for (const oldest of generations.keys()) {
        generations.delete(oldest)
        break
      }
    }
    return turn
  }
}

function freshSide(): Side {
  return {
    callerTexts: new Map(), agentTexts: new Map(), soundMs: null, actMs: null, audioMs: 0, tools: [], answered: false, failed: false,
  }
}

function sideOf(side: Side): ShadowSide {
  const { soundMs, actMs, tools, failed } = side
  return {
    callerText: [...side.callerTexts.values()].join(' ').trim(), agentText: [...side.agentTexts.values()].join(' ').trim(),
    soundMs, actMs, audioMs: Math.round(side.audioMs), tools: [...tools], failed,
  }
}

function sameTools(a: ShadowSide['tools'], b: ShadowSide['tools']): boolean {
  const left = [...b]
  for (const tool of a) {
    const at = left.findIndex((other) => other.name === tool.name && sameJson(other.args, tool.args))
    if (at < 0) return false
    left.splice(at, 1)
  }
  return left.length === 0
}

function plain(text: string): string {
  return text.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, ' ').trim()
}
