import type { Node } from 'kilovolt'
import { NodeLab } from './node-lab.ts'

/** Nodes for suites that others wrote: one alone, and three of one cluster over real links. Each is started once. */
export const CLUSTERS: readonly { readonly title: string; readonly nodes: number }[] = [
  { title: 'a single node', nodes: 1 },
  { title: 'three nodes', nodes: 3 }
]

/** A running cluster, handed out node by node in turn. */
export class Turns {
  readonly #lab = new NodeLab()
  readonly #nodes: Node[] = []
  #turn = 0

  /** Starts this many nodes and waits until each value has its copies. */
  async start(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const bootstrap = this.#nodes[0]?.addresses ?? []
      this.#nodes.push(await this.#lab.start({ bootstrap, partitions: 64, warmUpMs: 0 }))
    }
    await Promise.all(this.#nodes.map(node => node.settled()))
  }

  /** The next node: what one writes must be seen by the others. */
  next(): Node {
    return this.#nodes[this.#turn++ % this.#nodes.length]!
  }

  /** A number that no call has returned before, for names that are to be new. */
  get number(): number {
    return this.#turn
  }

  /** Stops all. */
  async stop(): Promise<void> {
    this.#nodes.length = 0
    await this.#lab.clear()
  }
}
