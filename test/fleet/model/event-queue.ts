/** Something that happens at a time; of the same moment, in its order. */
export interface Due {
  atMs: number
  readonly order: number
}

/** Queue of the next events: a binary heap. */
export class EventQueue<Event extends Due> {
  readonly #heap: Event[] = []

  push(event: Event): void {
    const heap = this.#heap
    let i = heap.push(event) - 1
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (!isBefore(event, heap[parent] as Event)) break
      heap[i] = heap[parent] as Event
      i = parent
    }
    heap[i] = event
  }

  pop(): Event | null {
    const heap = this.#heap
    const first = heap[0]
    if (first === undefined) return null
    const last = heap.pop() as Event
    if (heap.length === 0) return first
    let i = 0
    for (;;) {
      let child = 2 * i + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Event, heap[child] as Event)) child++
      if (!isBefore(heap[child] as Event, last)) break
      heap[i] = heap[child] as Event
      i = child
    }
    heap[i] = last
    return first
  }
}

function isBefore(a: Due, b: Due): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
}
