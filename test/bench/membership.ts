import { ProcessNode, until } from '../support/process-node.ts'
import { median } from './measure.ts'
import { table } from './table.ts'

/** Times of one start, in ms. */
interface Round {
  /** From the last process's `createNode` being called until all three see three active members. */
  readonly formed: number
  /** From the fourth's being a member until all know it. */
  readonly joined: number
  /** From SIGKILL until all have noticed something. */
  readonly suspected: number
  /** From SIGKILL until all hold it dead. */
  readonly dead: number
}

async function seesAlive(node: ProcessNode, ids: readonly string[]): Promise<boolean> {
  const alive = (await node.members()).filter(({ status, membership }) => status === 'alive' && membership === 'up')
  return ids.every(id => alive.some(member => member.id === id))
}

/** The machine's time at which all nodes have reported the event about a node. */
async function allReport(nodes: readonly ProcessNode[], names: readonly string[], about: string): Promise<number> {
  const first = (node: ProcessNode): number | undefined =>
    node.events.find(event => names.includes(event.name) && event.about === about)?.at
  await until(
    `${names.join('/')} of ${about}`,
    20_000,
    () => nodes.every(node => first(node) !== undefined) || undefined
  )
  return Math.max(...nodes.map(node => first(node)!))
}

async function round(): Promise<Round> {
  // Processes are up before the clock starts: what is measured is kilovolt, not the loading of Node.js.
  const processes = await Promise.all(Array.from({ length: 4 }, () => ProcessNode.spawn()))
  const [first, second, third, fourth] = processes as [ProcessNode, ProcessNode, ProcessNode, ProcessNode]
  try {
    await Promise.all(processes.map(node => node.call('members')))
    await first.start()
    const { addresses: bootstrap } = first
    await second.start({ bootstrap })
    const trio = [first, second, third]
    const begun = Date.now()
    await third.start({ bootstrap })
    await until('three see three', 20_000, async () => {
      const ids = trio.map(({ id }) => id)
      return (await Promise.all(trio.map(node => seesAlive(node, ids)))).every(Boolean) || undefined
    })
    const formed = Date.now() - begun
    await fourth.start({ bootstrap })
    const known = await allReport(trio, ['member:joined'], fourth.id)
    const killedAt = Date.now()
    await fourth.kill()
    const suspected = await allReport(trio, ['member:suspected', 'member:failed'], fourth.id)
    const dead = await allReport(trio, ['member:failed'], fourth.id)
    return {
      formed,
      joined: Math.max(0, known - fourth.startedAt),
      suspected: suspected - killedAt,
      dead: dead - killedAt
    }
  } finally {
    await Promise.all(processes.map(node => node.kill()))
  }
}

/** How quickly membership notices things, over real processes on loopback. */
export async function benchMembership(rounds: number): Promise<void> {
  const results: Round[] = []
  for (let i = 0; i < rounds; i++) {
    results.push(await round())
    process.stderr.write(`\rround ${i + 1} of ${rounds}`)
  }
  process.stderr.write('\n')
  const row = (name: string, pick: (result: Round) => number, promise: string): string[] => {
    const values = results.map(pick)
    return [
      name,
      ...[Math.min(...values), median(values), Math.max(...values)].map(ms => `${Math.round(ms)} ms`),
      promise
    ]
  }
  console.log(
    table(
      ['membership, real processes', 'least', 'median', 'most', 'wanted'],
      [
        row('three see three after the last start', ({ formed }) => formed, '1500 ms median'),
        row('a fourth is known to all', ({ joined }) => joined, '500 ms'),
        row('SIGKILL noticed by all', ({ suspected }) => suspected, '1000 ms'),
        row('SIGKILL: dead for all', ({ dead }) => dead, '5000 ms')
      ]
    )
  )
}
