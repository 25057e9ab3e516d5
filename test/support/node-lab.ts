import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createNode, type Node, type NodeOptions } from 'kilovolt'

/** A logger that says nothing. */
export const quiet = { debug() {}, info() {}, warn() {}, error() {} }

/** Nodes in this process over real links, and folders for their databases; whatever was made goes with `clear`. */
export class NodeLab {
  readonly #nodes: Node[] = []
  readonly #folders: string[] = []

  async start(options: NodeOptions = {}): Promise<Node> {
    const node = await createNode({ logger: quiet, ...options })
    this.#nodes.push(node)
    return node
  }

  /** An empty folder of its own. */
  folder(): string {
    const path = mkdtempSync(join(tmpdir(), 'kilovolt-'))
    this.#folders.push(path)
    return path
  }

  /** To be called after each test: stops all nodes, then deletes what they kept. */
  async clear(): Promise<void> {
    await Promise.all(this.#nodes.splice(0).map(node => node.stop()))
    for (const path of this.#folders.splice(0)) rmSync(path, { recursive: true, force: true })
  }
}
