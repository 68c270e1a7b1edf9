import { BroadcastChannel } from 'node:worker_threads'

/** Between the main thread and the media workers of this process. */
const CHANNEL = 'mkondo-edited-agents'

/** Tells the media workers which agents were edited or removed. */
export function tellEdited(names: readonly string[]): void {
  const channel = new BroadcastChannel(CHANNEL)
  channel.postMessage(names)
  channel.close()
}

/** Calls `listener` with the names of agents that were edited or removed; keeps no thread alive. */
export function onEdited(listener: (names: readonly string[]) => void): void {
  const channel = new BroadcastChannel(CHANNEL)
  channel.onmessage = (event) => listener((event as { readonly data: readonly string[] }).data)
  channel.unref()
}
