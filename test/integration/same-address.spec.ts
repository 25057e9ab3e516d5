import assert from 'node:assert/strict'
import type { Node } from 'kilovolt'
import { freePort } from '../support/free-port.ts'
import { NodeLab, quiet } from '../support/node-lab.ts'
import { until } from '../support/process-node.ts'

describe('a node in memory that is started again at its address', () => {
  const lab = new NodeLab()

  afterEach(() => lab.clear())

  // Its peer id is a new one, and the others dial the old one there until that counts as dead.
  for (const secret of [undefined, 'a secret of the cluster']) {
    it(`is no attack to anybody, ${secret === undefined ? 'without' : 'with'} a secret`, async () => {
      const ports = [await freePort(), await freePort(), await freePort()]
      const bootstrap = ports.map(port => `/ip4/127.0.0.1/tcp/${port}`)
      const refusals: unknown[] = []
      const logger = {
        ...quiet,
        warn: (message: string, details?: object) => {
          if (message === 'a link was refused') refusals.push(details)
        }
      }
      const start = (i: number): Promise<Node> => lab.start({ listen: [bootstrap[i]!], bootstrap, logger, secret })
      const nodes = await Promise.all([0, 1, 2].map(start))
      await nodes[0]!.settled()
      const old = nodes[2]!
      await old.stop()
      nodes[2] = await start(2)
      for (const node of nodes) node.addEventListener('link:refused', ({ detail }) => refusals.push(detail.error))
      const hasBuried = (node: Node): boolean => {
        const members = new Map(node.members().map(({ id, status }) => [id, status]))
        return members.get(old.id) !== 'alive' && members.get(old.id) !== 'suspect' && members.has(nodes[2]!.id)
      }
      await until('all know that the old one is gone', 15_000, () => nodes.every(hasBuried) || undefined)
      assert.deepEqual(refusals, [])
    })
  }
})
