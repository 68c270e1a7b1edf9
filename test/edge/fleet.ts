import type { Test } from 'tap'
import { ProcessLink } from '../../src/cli/process-link.js'
import type { FromProcess, ToProcess } from '../../src/cli/process-messages.js'
import { SiblingSwitch } from '../../src/cli/sibling-switch.js'
import type { EdgeOptions } from '../../src/edge/edge.js'
import { homesOf } from '../../src/edge/siblings.js'
import { newSid, startGateway } from './gateway.js'
import type { Gateway } from './gateway.js'
import type { ScriptedCall } from './scripted-calls.js'

export interface Fleet {
  readonly gateways: readonly Gateway[]
  readonly links: readonly ProcessLink[]
  readonly switchboard: SiblingSwitch
  /** Processes that are asked and never answer. */
  readonly frozen: Set<number>
  /** The one that has a call. */
  ownerOf(sid: string): number
  call(sid: string): ScriptedCall
}

type Passed = Extract<FromProcess, { type: 'took' | 'ask' | 'answer' }>

/**
 * Gateways that are joined as the supervisor joins processes, through copies of all that they say; each on a port of its own
 * unless `options` have another.
 */
export async function fleet(
  t: Test, count: number, options: Partial<EdgeOptions> | ((index: number) => Partial<EdgeOptions>) = {},
): Promise<Fleet> {
  const frozen = new Set<number>()
  const links: ProcessLink[] = []
  const later = (work: () => void): void => { setImmediate(work) }
  const switchboard = new SiblingSwitch((index, message) => {
    const copy = structuredClone(message)
    later(() => {
      if (frozen.has(index) && copy.type === 'ask') return
      links[index]?.receive(copy as Exclude<ToProcess, { type: 'start' }>)
    })
  })
  for (let index = 0; index < count; index++) {
    links.push(new ProcessLink({
      index, count, places: switchboard.started(index),
      send: (message) => {
        const copy = structuredClone(message)
        later(() => { switchboard.received(index, copy as Passed) })
      },
    }))
  }
  const gateways: Gateway[] = []
  for (const link of links) {
    gateways.push(await startGateway(t, { siblings: link, ...(typeof options === 'function' ? options(link.index) : options) }))
    switchboard.opened(link.index)
  }
  const ownerOf = (sid: string): number => gateways.findIndex(({ calls }) => calls.find(sid) !== undefined)
  return { gateways, links, switchboard, frozen, ownerOf, call: (sid) => (gateways[ownerOf(sid)] as Gateway).calls.get(sid) }
}

/** A SID whose home is process `index`. */
export function sidOf(index: number, count: number): string {
  for (;;) {
    const sid = newSid()
    if (homesOf(sid, count)[0] === index) return sid
  }
}
