import { ClassicLevel } from 'classic-level'
import type { Node } from 'kilovolt'
import { NodeLab } from './node-lab.ts'

/** Clusters for suites that others wrote: a node alone, and three over real links. */
export const CLUSTERS: readonly { readonly title: string; readonly nodes: number; readonly onDisk: boolean }[] = [
  { title: 'a single node on disk', nodes: 1, onDisk: true },
  { title: 'three nodes in memory', nodes: 3, onDisk: false }
]

/** A running cluster, handed out node by node in turn. */
export class Turns {
  readonly #lab = new NodeLab()
  readonly #nodes: Node[] = []
  #turn = 0

  /** Starts the nodes and waits until each value has its copies. */
  async start({ nodes, onDisk }: (typeof CLUSTERS)[number]): Promise<void> {
    for (let i = 0; i < nodes; i++) {
      const bootstrap = this.#nodes[0]?.addresses ?? []
      const storage = onDisk ? { storage: new ClassicLevel(this.#lab.folder()) } : {}
      this.#nodes.push(await this.#lab.start({ bootstrap, partitions: 64, warmUpMs: 0, ...storage }))
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
