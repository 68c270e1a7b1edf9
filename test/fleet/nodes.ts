import type { Test } from 'tap'
import type { EdgeOptions } from '../../src/edge/options.js'
import { NodeLink, NodeSwitch, ownersByHash } from '../../src/fleet/node-channel.js'
import { newSid, startGateway } from '../edge/gateway.js'
import type { Gateway } from '../edge/gateway.js'
import type { ScriptedCall } from '../edge/scripted-calls.js'

export interface Fleet {
  readonly gateways: readonly Gateway[]
  readonly links: readonly NodeLink[]
  readonly switchboard: NodeSwitch
  /** Nodes that get webhooks and never answer. */
  readonly frozen: Set<number>
  /** The node that has a call. */
  ownerOf(sid: string): number
  call(sid: string): ScriptedCall
  /** Resolves when all messages have arrived. */
  settled(): Promise<void>
}

/**
 * Gateways that are joined as the supervisor joins its nodes, by messages that are JSON; each on a port of its own
 * unless `options` have another.
 */
export async function fleet(
  t: Test,
  count: number,
  options: Partial<EdgeOptions> | ((index: number) => Partial<EdgeOptions>) = {},
): Promise<Fleet> {
  const frozen = new Set<number>()
  const links: NodeLink[] = []
  let onTheWay = 0
  const later = (work: () => void): void => {
    onTheWay++
    setImmediate(() => {
      work()
      onTheWay--
    })
  }
  const settled = async (): Promise<void> => {
    while (onTheWay > 0) await new Promise((resolve) => setImmediate(resolve))
  }
  const switchboard = new NodeSwitch((index, message) => {
    const copy = json(message)
    later(() => {
      if (frozen.has(index) && copy.type === 'forward') return
      links[index]?.receive(copy)
    })
  })
  for (let index = 0; index < count; index++) {
    links.push(
      new NodeLink({
        index,
        count,
        owners: switchboard.started(index),
        send: (message) => {
          const copy = json(message)
          later(() => {
            if (copy.type !== 'ready' && copy.type !== 'failed') switchboard.received(index, copy)
          })
        },
      }),
    )
  }
  const gateways: Gateway[] = []
  for (const link of links) {
    gateways.push(
      await startGateway(t, { fleet: link, ...(typeof options === 'function' ? options(link.index) : options) }),
    )
    switchboard.opened(link.index)
  }
  const ownerOf = (sid: string): number => gateways.findIndex(({ calls }) => calls.find(sid) !== undefined)
  return {
    gateways,
    links,
    switchboard,
    frozen,
    ownerOf,
    settled,
    call: (sid) => (gateways[ownerOf(sid)] as Gateway).calls.get(sid),
  }
}

/** A SID whose owner by its hash is node `index`. */
export function sidOf(index: number, count: number): string {
  for (;;) {
    const sid = newSid()
    if (ownersByHash(sid, count)[0] === index) return sid
  }
}

const json = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T
