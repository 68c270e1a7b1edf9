import { BroadcastChannel } from 'node:worker_threads'

/** Channel between the main thread and the media workers of this process. */
const CHANNEL = 'mkondo-edited-agents'

/** Sends the media workers the names of agents that were edited or removed. */
export function tellEdited(names: readonly string[]): void {
  const channel = new BroadcastChannel(CHANNEL)
  channel.postMessage(names)
  channel.close()
}

/** Calls `listener` with the names of agents that were edited or removed. The listener does not keep a thread alive. */
export function onEdited(listener: (names: readonly string[]) => void): void {
  const channel = new BroadcastChannel(CHANNEL)
  channel.onmessage = (event) => listener((event as { readonly data: readonly string[] }).data)
  channel.unref()
}
