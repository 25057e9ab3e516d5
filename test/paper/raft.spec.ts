import assert from 'node:assert/strict'
import { utf8 } from '../../src/base/bytes.ts'
import type { Append, Entry, RaftMessage, VoteRequest } from '../../src/consensus/messages.ts'
import { EMPTY_LOG_STATE, type LogState } from '../../src/consensus/raft-log.ts'
import { SOUND_RAFT_RULES } from '../../src/consensus/rules.ts'
import type { StoreId } from '../../src/model/node-id.ts'
import { Breach } from '../support/raft-invariants.ts'
import {
  RaftNetwork,
  type RaftNetworkOptions,
  type RaftNode,
  foundedBy,
  stateOf,
  storeId,
  termsOf
} from '../support/raft-network.ts'

// "In Search of an Understandable Consensus Algorithm (Extended Version)", Ongaro and Ousterhout 2014, section by section,
// and what Ongaro's thesis, "Consensus: Bridging Theory and Practice", adds to it.

const [A, B, C, D, E] = [1, 2, 3, 4, 5].map(storeId) as [StoreId, StoreId, StoreId, StoreId, StoreId]
const THREE = [A, B, C]
const FIVE = [A, B, C, D, E]

interface Solo {
  readonly net: RaftNetwork
  readonly node: RaftNode
  /** What it has sent since the last look. */
  readonly take: () => RaftMessage[]
}

/** One node alone with messages that the test makes up. */
function solo(state: LogState = foundedBy(THREE), id: StoreId = A): Solo {
  const net = new RaftNetwork()
  let sent: RaftMessage[] = []
  net.tap = message => sent.push(message)
  const node = net.add(id, state)
  const take = (): RaftMessage[] => {
    const messages = sent
    sent = []
    return messages
  }
  return { net, node, take }
}

/** A candidate, or with the votes of all others a leader, with what it has sent since. */
function leading(state?: LogState, id: StoreId = A): Solo {
  const it = candidate(state, id)
  const { voters } = it.node.raft!.configuration
  const { term } = it.node.raft!
  for (const from of voters.filter(voter => voter !== id)) {
    it.node.step({ kind: 'voteReply', from, to: id, term, pre: false, granted: true })
  }
  assert.ok(it.node.isLeader)
  return it
}

function candidate(state?: LogState, id: StoreId = A): Solo {
  const it = solo(state, id)
  const { node } = it
  node.skewMs += node.raft!.deadlineMs - node.nowMs
  node.tick()
  const { voters } = node.raft!.configuration
  const term = node.raft!.term + 1
  for (const from of voters.filter(voter => voter !== id)) {
    if (node.raft!.role === 'pre-candidate') {
      node.step({ kind: 'voteReply', from, to: id, term, pre: true, granted: true })
    }
  }
  assert.equal(node.raft!.role, voters.length === 1 ? 'leader' : 'candidate')
  return it
}

function append(from: StoreId, term: number, fields: Partial<Append> = {}): Append {
  return { kind: 'append', from, to: A, term, prevIndex: 0, prevTerm: 0, commit: 0, round: 0, entries: [], ...fields }
}

function vote(from: StoreId, term: number, lastIndex: number, lastTerm: number): VoteRequest {
  return { kind: 'vote', from, to: A, term, pre: false, transfer: false, lastIndex, lastTerm }
}

function command(index: number, term: number): Entry {
  return { index, term, kind: 'command', command: utf8(`${term}/${index}`) }
}

function reply(from: StoreId, term: number, match: number, round = 0): RaftMessage {
  return { kind: 'appendReply', from, to: A, term, match, round }
}

function kinds(messages: readonly RaftMessage[]): string[] {
  return messages.map(({ kind, to }) => `${kind} ${Number.parseInt(to, 16)}`)
}

function five(options: RaftNetworkOptions = {}): RaftNetwork {
  const net = new RaftNetwork(options)
  net.addVoters(...FIVE)
  return net
}

describe('Raft §5.1: terms', () => {
  it('whoever hears of a later term follows it, whatever it was', () => {
    for (const make of [solo, candidate, leading]) {
      const { node } = make()
      node.step(append(B, 9))
      assert.deepEqual([node.raft!.role, node.raft!.term, node.raft!.leader], ['follower', 9, B])
    }
  })

  it('a request of an earlier term is refused, and its sender told of the later one', () => {
    const { node, take } = solo(stateOf([1, 5], THREE))
    node.step(append(B, 4, { entries: [command(1, 4)] }))
    const [refusal] = take()
    assert.deepEqual([refusal?.kind, refusal?.term], ['appendRefusal', 5])
    node.step(vote(B, 4, 9, 4))
    assert.deepEqual(take(), [])
    assert.deepEqual(termsOf(node), [1, 5])
  })
})

describe('Raft §5.2: elections', () => {
  it('a node begins as a follower', () => {
    assert.equal(solo().node.raft!.role, 'follower')
  })

  it('a leader sends heartbeats to all others, and goes on doing so', () => {
    const { net, take } = leading()
    take()
    for (let i = 0; i < 3; i++) {
      net.run(150)
      assert.deepEqual(kinds(take()), ['append 2', 'append 3'])
    }
  })

  it('a follower that hears of no leader stands for election: next term, own vote, all others asked at once', () => {
    const { node, take } = candidate(foundedBy(FIVE))
    assert.equal(node.raft!.term, 2)
    assert.equal(node.disk.state.hardState.vote, A)
    const requests = take().filter(message => message.kind === 'vote' && !message.pre)
    assert.deepEqual(kinds(requests), ['vote 2', 'vote 3', 'vote 4', 'vote 5'])
  })

  it('a candidate leads with the votes of a majority, gives up when that is out of reach, and else waits', () => {
    const cases: [voters: readonly StoreId[], votes: (boolean | undefined)[], role: string][] = [
      [THREE, [true], 'leader'],
      [THREE, [false], 'candidate'],
      [THREE, [false, false], 'follower'],
      [FIVE, [true], 'candidate'],
      [FIVE, [true, true], 'leader'],
      [FIVE, [true, false, false], 'candidate'],
      [FIVE, [true, false, false, false], 'follower'],
      [FIVE, [false, false, true, true], 'leader'],
      [FIVE, [], 'candidate']
    ]
    for (const [voters, votes, role] of cases) {
      const { node } = candidate(foundedBy(voters))
      votes.forEach((granted, i) => {
        const from = voters[i + 1]!
        node.step({ kind: 'voteReply', from, to: A, term: 2, pre: false, granted: granted === true })
        // Said twice, counted once.
        node.step({ kind: 'voteReply', from, to: A, term: 2, pre: false, granted: true })
      })
      assert.equal(node.raft!.role, role, `${voters.length}: ${votes.join()}`)
    }
  })

  it('a voter votes once in a term, for whoever comes first', () => {
    const cases: [already: StoreId | undefined, asks: StoreId, granted: boolean][] = [
      [undefined, B, true],
      [undefined, C, true],
      [B, B, true],
      [C, C, true],
      [B, C, false],
      [C, B, false]
    ]
    for (const [already, asks, granted] of cases) {
      const { node, take } = solo(stateOf([1], THREE, { term: 2, vote: already }))
      node.step(vote(asks, 2, 1, 1))
      const [answer] = take()
      assert.ok(answer?.kind === 'voteReply' && answer.granted === granted)
    }
  })

  it('a candidate yields to a leader of its own term or of a later one', () => {
    for (const term of [2, 3]) {
      const { node } = candidate()
      node.step(append(C, term))
      assert.deepEqual([node.raft!.role, node.raft!.leader, node.raft!.term], ['follower', C, term])
    }
  })

  it('timeouts are spread over the whole range', () => {
    const seen = Array.from({ length: 200 }, (_, seed) => {
      const net = new RaftNetwork({ seed })
      return net.add(A, foundedBy(THREE)).raft!.deadlineMs
    })
    assert.ok(seen.every(ms => ms >= 1000 && ms < 2000))
    const tenths = new Set(seen.map(ms => Math.floor(ms / 100)))
    assert.equal(tenths.size, 10)
  })

  it('splits of the vote are rare and heal by themselves', () => {
    let terms = 0
    for (let seed = 0; seed < 50; seed++) {
      const net = five({ seed, weather: { delayMaxMs: 20 } })
      terms += net.settle().raft!.term - 1
      assert.ok(net.nowMs < 5000, `sim seed ${seed}: ${net.nowMs} ms`)
    }
    assert.ok(terms < 60, `${terms} elections for 50 leaders`)
  })
})

describe('Raft §5.3: replication', () => {
  it('a new entry goes to all followers together with the place before it', () => {
    const { node, take } = leading()
    for (const from of [B, C]) node.step(reply(from, 2, 2))
    take()
    node.propose('x')
    const messages = take()
    assert.deepEqual(kinds(messages), ['append 2', 'append 3'])
    for (const message of messages) {
      assert.ok(message.kind === 'append')
      assert.deepEqual([message.prevIndex, message.prevTerm, message.commit], [2, 2, 2])
      assert.deepEqual(
        message.entries.map(({ index, term }) => [index, term]),
        [[3, 2]]
      )
    }
  })

  it('an entry is committed when a majority has it, and applied, and the followers told', () => {
    const cases: [size: number, acks: number, committed: boolean][] = [
      [1, 0, true],
      [3, 0, false],
      [3, 1, true],
      [5, 1, false],
      [5, 2, true]
    ]
    for (const [size, acks, committed] of cases) {
      const { node, take } = leading(foundedBy(FIVE.slice(0, size)))
      for (const from of FIVE.slice(1, size)) node.step(reply(from, 2, 2))
      node.propose('x')
      take()
      for (const from of FIVE.slice(1, 1 + acks)) node.step(reply(from, 2, 3))
      assert.equal(node.commands.includes('x'), committed, `${acks} of ${size}`)
      const told = take().filter(message => message.kind === 'append' && message.commit === 3)
      assert.equal(told.length, committed ? size - 1 : 0)
    }
  })

  it('what comes before a committed entry is committed with it, whoever made it', () => {
    for (const terms of [[1], [1, 2], [1, 1, 2], [1, 1, 1]]) {
      const { node } = leading(stateOf(terms, THREE))
      node.propose('x')
      node.step(reply(B, node.raft!.term, terms.length + 2))
      assert.equal(node.raft!.log.committed, terms.length + 2)
      assert.equal(node.applied.index, terms.length + 2)
    }
  })

  it('a follower applies what its leader has committed, as far as it has it', () => {
    const { node } = solo()
    node.step(append(B, 1, { prevIndex: 1, prevTerm: 1, entries: [command(2, 1), command(3, 1)], commit: 2 }))
    assert.deepEqual(node.commands, ['1/2'])
    node.step(append(B, 1, { prevIndex: 3, prevTerm: 1, commit: 9 }))
    assert.deepEqual(node.commands, ['1/2', '1/3'])
  })

  it('a follower takes entries only where its log agrees', () => {
    const cases: [prevIndex: number, prevTerm: number, agrees: boolean][] = [
      [1, 1, true],
      [2, 2, true],
      [2, 1, false],
      [3, 3, false],
      [0, 0, true]
    ]
    for (const [prevIndex, prevTerm, agrees] of cases) {
      const { node, take } = solo(stateOf([1, 2], THREE))
      node.step(append(B, 3, { prevIndex, prevTerm }))
      assert.equal(take()[0]?.kind, agrees ? 'appendReply' : 'appendRefusal', `${prevIndex}/${prevTerm}`)
    }
  })

  it('what contradicts the leader goes, with all that follows; what agrees stays, even if more than was sent', () => {
    const cases: [prev: [number, number], entries: Entry[], left: number[]][] = [
      [[2, 2], [command(3, 3)], [1, 2, 3]],
      [
        [1, 1],
        [command(2, 3), command(3, 4)],
        [1, 3, 4]
      ],
      [[1, 1], [command(2, 2)], [1, 2, 2]],
      [[1, 1], [command(2, 3)], [1, 3]],
      [[2, 2], [], [1, 2, 2]]
    ]
    for (const [[prevIndex, prevTerm], entries, left] of cases) {
      const { node } = solo(stateOf([1, 2, 2], THREE))
      node.step(append(B, 5, { prevIndex, prevTerm, entries }))
      assert.deepEqual(termsOf(node), left)
      assert.deepEqual(
        node.disk.state.entries.map(({ term }) => term),
        left
      )
    }
  })

  /** Figure 7: logs as they may look when the leader for term 8 comes to power. */
  const FIGURE_7: Record<string, number[]> = {
    a: [1, 1, 1, 4, 4, 5, 5, 6, 6],
    b: [1, 1, 1, 4],
    c: [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
    d: [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
    e: [1, 1, 1, 4, 4, 4, 4],
    f: [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3]
  }
  const LEADER = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6]

  for (const [name, terms] of Object.entries(FIGURE_7)) {
    it(`figure 7 (${name}): the follower's log becomes the leader's, within few round trips`, () => {
      const net = new RaftNetwork()
      const leader = net.add(A, stateOf(LEADER, THREE, { term: 7 }))
      const follower = net.add(B, stateOf(terms, THREE, { term: 7 }))
      // A third voter, so that there is a leader in each case.
      net.add(C, stateOf([1], THREE, { term: 7 }))
      let refusals = 0
      net.tap = message => {
        if (message.kind === 'appendRefusal' && message.from === B) refusals++
      }
      net.elect(A)
      net.run(200)
      assert.deepEqual(termsOf(follower), termsOf(leader))
      assert.deepEqual(termsOf(follower).slice(0, 10), LEADER)
      assert.ok(refusals <= 4, `${refusals} refusals`)
    })
  }
})

describe('Raft §5.4.1: who may lead', () => {
  it('a voter refuses whoever lacks what it has: later last term first, then the longer log', () => {
    const cases: [own: number[], lastIndex: number, lastTerm: number, granted: boolean][] = [
      [[1], 1, 1, true],
      [[1], 2, 1, true],
      [[1, 1], 1, 1, false],
      [[1], 1, 2, true],
      [[1], 2, 2, true],
      [[1, 1], 1, 2, true],
      [[2], 1, 1, false],
      [[2], 2, 1, false],
      [[2, 2], 1, 1, false]
    ]
    for (const [own, lastIndex, lastTerm, granted] of cases) {
      const { node, take } = solo(stateOf(own, THREE))
      node.step(vote(B, 3, lastIndex, lastTerm))
      const [answer] = take()
      assert.ok(answer?.kind === 'voteReply' && answer.granted === granted, `${own.join()} / ${lastIndex} ${lastTerm}`)
    }
  })

  it('figure 7: (a), (c) and (d) may be elected by the leader of the figure, (b), (e) and (f) not', () => {
    const verdicts = [
      [9, 6],
      [4, 4],
      [11, 6],
      [12, 7],
      [7, 4],
      [11, 3]
    ].map(([lastIndex, lastTerm]) => {
      const { node, take } = solo(stateOf([1, 1, 1, 4, 4, 5, 5, 6, 6], THREE, { term: 7 }))
      node.step(vote(B, 8, lastIndex!, lastTerm!))
      const [answer] = take()
      return answer?.kind === 'voteReply' && answer.granted
    })
    assert.deepEqual(verdicts, [true, false, true, true, false, false])
  })
})

describe('Raft §5.4.2: entries of earlier terms', () => {
  it('are not committed by counting copies', () => {
    const { node } = leading(stateOf([1, 2, 2], THREE))
    node.step(reply(B, 3, 3))
    assert.equal(node.raft!.log.committed, 1)
    node.step(reply(B, 3, 4))
    assert.equal(node.raft!.log.committed, 4)
  })

  /** Figure 8, up to the point where S1 has copied its old entry to a majority, and then S5 comes back. */
  function figure8(options: RaftNetworkOptions): RaftNetwork {
    const net = five({ ...options, raft: { appendBytesMax: 1 } })
    // (a) S1 leads term 2 and reaches only S2 with its entry at index 2.
    net.filter = message => message.kind !== 'append' || message.to === B || message.entries.length === 0
    net.elect(A)
    net.node(A).crash()
    // (b) S5 leads term 3, by the votes of S3 and S4, and reaches nobody with its entry at index 2.
    net.filter = message => message.kind !== 'append' && message.to !== B && message.from !== B
    net.elect(E)
    net.node(E).crash()
    // (c) S1 leads term 4, and copies its entry of term 2 to S3, but not the one of term 4 to anybody.
    net.node(A).start()
    net.filter = message =>
      message.kind !== 'append' || (message.to !== D && !message.entries.some(({ term }) => term > 3))
    net.elect(A)
    net.run(300)
    assert.deepEqual(
      [A, B, C].map(id => termsOf(net.node(id))[1]),
      [2, 2, 2]
    )
    assert.equal(net.node(A).raft!.term, 4)
    // (d) S1 is gone, and S5 may be elected by S2, S3 and S4.
    net.filter = () => true
    net.node(A).crash()
    net.node(E).start()
    net.elect(E)
    net.run(300)
    return net
  }

  it('figure 8: an old entry on a majority may still be overwritten, so nobody took it for committed', () => {
    const net = figure8({})
    assert.deepEqual(
      [B, C, D, E].map(id => termsOf(net.node(id))[1]),
      [3, 3, 3, 3]
    )
  })

  it('figure 8: who commits old entries by counting loses a committed entry, and that is noticed', () => {
    const rules = { ...SOUND_RAFT_RULES, mayCommit: () => true }
    assert.throws(() => figure8({ rules }), Breach)
  })
})

describe('Raft §6: changing the members', () => {
  it('a configuration is in force as soon as it is in the log', () => {
    const { node } = leading()
    node.step(reply(B, 2, 2))
    assert.ok(node.change([A, D, E]))
    assert.deepEqual(node.raft!.configuration, { voters: [A, D, E], outgoing: THREE, learners: [] })
    assert.equal(node.raft!.log.committed, 2)
  })

  it('a follower goes back to the configuration before when the entry is cut off', () => {
    const { node } = solo()
    const joint = { voters: [A, D, E], outgoing: THREE, learners: [] }
    const entry: Entry = { index: 2, term: 2, kind: 'configuration', configuration: joint }
    node.step(append(B, 2, { prevIndex: 1, prevTerm: 1, entries: [entry] }))
    assert.deepEqual(node.raft!.configuration, joint)
    node.step(append(C, 3, { prevIndex: 1, prevTerm: 1, entries: [command(2, 3)] }))
    assert.deepEqual(node.raft!.configuration.voters, THREE)
  })

  it('while it is joint, entries need a majority of the old voters and of the new ones', () => {
    for (const [acks, done] of [
      [[B, C], false],
      [[D, E], false],
      [[B, D], true]
    ] as const) {
      const { node } = leading()
      node.step(reply(B, 2, 2))
      node.change([A, D, E])
      for (const from of acks) node.step(reply(from, 2, 3))
      assert.equal(node.raft!.log.committed >= 3, done, acks.join())
    }
  })

  it('while it is joint, an election needs both majorities too', () => {
    const joint = { voters: [A, D, E], outgoing: THREE, learners: [] }
    const base = stateOf([1], THREE, { term: 2 })
    const entry: Entry = { index: 2, term: 2, kind: 'configuration', configuration: joint }
    const state = { ...base, entries: [...base.entries, entry] }
    for (const [votes, role] of [
      [[B, C], 'pre-candidate'],
      [[D, E], 'pre-candidate'],
      [[B, D], 'candidate']
    ] as const) {
      const { node } = solo(state)
      node.skewMs += node.raft!.deadlineMs
      node.tick()
      for (const from of votes) node.step({ kind: 'voteReply', from, to: A, term: 3, pre: true, granted: true })
      assert.equal(node.raft!.role, role, votes.join())
    }
  })

  it('a committed joint configuration is left by itself, also by the next leader', () => {
    const net = new RaftNetwork()
    net.addVoters(...THREE)
    for (const id of [D, E]) net.add(id)
    net.elect(A)
    net.run(100)
    // The leader dies as soon as it has committed the joint configuration.
    net.node(A).change([A, D, E])
    net.until('joint and committed', () => {
      const { log } = net.node(A).raft!
      return log.configuration.outgoing.length === 0 && log.committed === log.configurationIndex - 1
    })
    net.node(A).crash()
    net.until('somebody else leaves it', () => {
      return [D, E].every(id => {
        const { configuration, log } = net.node(id).raft!
        return configuration.outgoing.length === 0 && log.committed >= log.configurationIndex
      })
    })
    assert.ok([D, E].includes(net.settle().id))
  })

  it('a change waits for the one before, and for an entry of the leader own term (thesis §4.1)', () => {
    const { node } = leading()
    assert.equal(node.change([A, B]), false)
    node.step(reply(B, 2, 2))
    assert.equal(node.change([A, B]), true)
    assert.equal(node.change([A, B, D]), false)
    node.step(reply(B, 2, 3))
    assert.equal(node.change([A, B, D]), false)
    node.step(reply(B, 2, 4))
    assert.equal(node.change([A, B, D]), true)
  })

  it('newcomers receive the log without a vote, and never stand', () => {
    const net = new RaftNetwork()
    net.addVoters(...THREE)
    const newcomer = net.add(D)
    net.elect(A)
    net.run(10)
    net.node(A).change(THREE, [D])
    net.node(A).propose('x')
    net.run(300)
    assert.deepEqual(newcomer.commands, ['x'])
    for (const id of THREE) net.node(id).crash()
    net.run(10_000)
    assert.deepEqual([newcomer.raft!.role, newcomer.raft!.term, newcomer.raft!.leader], ['follower', 2, undefined])
  })

  it('who is in no configuration waits in silence', () => {
    const { net, node, take } = solo(EMPTY_LOG_STATE)
    net.run(60_000)
    assert.deepEqual(take(), [])
    assert.equal(node.raft!.role, 'follower')
  })

  it('a leader that is not among the new voters leads until that is committed, then steps down', () => {
    const { node } = leading()
    node.step(reply(B, 2, 2))
    node.change([B, C])
    node.step(reply(B, 2, 3))
    assert.ok(node.isLeader, 'the joint configuration still has it')
    node.step(reply(C, 2, 3))
    assert.deepEqual(node.raft!.configuration.outgoing, [])
    // Its own copy counts no more.
    node.step(reply(B, 2, 4))
    assert.ok(node.isLeader)
    node.step(reply(C, 2, 4))
    assert.equal(node.isLeader, false)
  })

  it('a removed voter that was not told does no harm', () => {
    const net = five()
    net.elect(A)
    net.run(10)
    net.isolate(E)
    net.node(A).change([A, B, C, D])
    net.run(20_000)
    net.heal()
    const { term } = net.node(A).raft!
    net.run(20_000)
    assert.deepEqual([net.leader!.id, net.leader!.raft!.term], [A, term])
  })
})

describe('Raft §7: snapshots', () => {
  const snapshot = (index: number, term: number) => {
    const configuration = { voters: THREE, outgoing: [], learners: [] }
    return { index, term, configuration, data: utf8(`state ${index}`) }
  }
  const message = (index: number, term: number): RaftMessage => {
    return { kind: 'snapshot', from: B, to: A, term: 5, round: 0, snapshot: snapshot(index, term) }
  }

  it('takes the place of a log that has not what it stands for', () => {
    const { node, take } = solo(stateOf([1, 2, 2], THREE))
    node.step(message(9, 4))
    assert.deepEqual([node.applied.index, node.raft!.log.firstIndex, node.raft!.log.lastIndex], [9, 10, 9])
    assert.deepEqual(node.disk.state.snapshot?.index, 9)
    const [answer] = take()
    assert.ok(answer?.kind === 'appendReply' && answer.match === 9)
  })

  it('leaves alone what comes after it in a log that agrees', () => {
    const { node } = solo(stateOf([1, 2, 2], THREE))
    node.step(message(2, 2))
    assert.deepEqual(termsOf(node), [1, 2, 2])
    assert.equal(node.raft!.log.committed, 2)
  })

  it('is ignored when it is older than what is committed', () => {
    const { node, take } = solo(stateOf([1, 2, 2], THREE, { commit: 3 }))
    node.step(message(2, 3))
    assert.deepEqual(termsOf(node), [1, 2, 2])
    const [answer] = take()
    assert.ok(answer?.kind === 'appendReply' && answer.match === 3)
  })

  it('goes to a follower that needs what is trimmed, and entries follow it', () => {
    const net = new RaftNetwork()
    net.addVoters(...THREE)
    net.elect(A)
    net.node(C).crash()
    for (let i = 0; i < 20; i++) net.node(A).propose(`${i}`)
    net.run(100)
    net.node(A).trim(3)
    net.node(C).start()
    net.run(500)
    net.node(A).propose('after')
    net.run(100)
    assert.equal(net.node(C).disk.state.snapshot?.index, 22)
    assert.deepEqual(net.node(C).commands, ['after'])
  })

  it('is sent again when it was lost, and not to whom nobody has heard of', () => {
    const net = new RaftNetwork()
    net.addVoters(...THREE)
    net.elect(A)
    net.node(C).crash()
    for (let i = 0; i < 20; i++) net.node(A).propose(`${i}`)
    net.run(5000)
    net.node(A).trim(3)
    let sent = 0
    net.tap = ({ kind }) => {
      if (kind === 'snapshot') sent++
    }
    net.run(20_000)
    assert.equal(sent, 0)
    net.filter = ({ kind }) => kind !== 'snapshot' || sent > 1
    net.node(C).start()
    net.run(7000)
    assert.equal(sent, 2)
    assert.equal(net.node(C).applied.index, net.node(A).applied.index)
  })
})

describe('thesis §3.10: handing leadership over', () => {
  it('takes one election without a timeout, in which nobody minds that there is a leader', () => {
    const net = five()
    net.elect(A)
    net.run(100)
    net.node(A).transfer(C)
    net.run(20)
    assert.deepEqual([net.leader!.id, net.leader!.raft!.term], [C, 3])
  })

  it('waits until the target has the whole log, and takes no proposals meanwhile', () => {
    const net = five()
    net.elect(A)
    net.run(100)
    net.filter = ({ kind, to }) => kind !== 'append' || to !== C
    net.node(A).propose('x')
    net.node(A).transfer(C)
    net.run(300)
    assert.ok(net.node(A).isLeader)
    assert.equal(net.node(A).propose('y'), false)
    net.filter = () => true
    net.run(300)
    assert.equal(net.leader!.id, C)
  })

  it('is given up after an election timeout', () => {
    const net = five()
    net.elect(A)
    net.run(100)
    net.node(C).crash()
    net.node(A).propose('x')
    net.node(A).transfer(C)
    net.run(1500)
    assert.ok(net.node(A).isLeader)
    assert.ok(net.node(A).propose('y'))
  })
})

describe('thesis §4.2.2: whoever is being removed', () => {
  it('still stands for election while only it has the entry that removes it', () => {
    const net = new RaftNetwork()
    net.addVoters(A, B)
    net.elect(A)
    net.run(10)
    // B never gets the entry that makes it the only voter.
    let isLost = false
    net.filter = message => {
      if (message.kind !== 'append' || message.to !== B) return true
      isLost ||= message.entries.some(({ kind, index }) => kind === 'configuration' && index > 3)
      return !isLost
    }
    net.node(A).change([B])
    net.run(50)
    assert.deepEqual(net.node(A).raft!.configuration, { voters: [B], outgoing: [], learners: [] })
    assert.deepEqual(net.node(B).raft!.configuration.outgoing, [A, B])
    net.node(A).crash()
    net.filter = () => true
    net.node(A).start()
    net.until('B leads alone', () => net.node(B).isLeader && net.node(B).raft!.configuration.outgoing.length === 0)
    net.run(5000)
    assert.ok(net.node(B).isLeader)
  })
})

describe('thesis §6.2: a leader that a majority does not answer', () => {
  it('steps down', () => {
    const net = five()
    net.elect(A)
    net.run(500)
    net.split([A, B], [C, D, E])
    net.run(2500)
    assert.equal(net.node(A).isLeader, false)
    assert.ok([C, D, E].includes(net.leader!.id))
  })

  it('stays when just a majority is left', () => {
    const net = five()
    net.elect(A)
    net.run(500)
    net.split([A, B, C], [D, E])
    net.run(20_000)
    assert.deepEqual([net.leader!.id, net.leader!.raft!.term], [A, 2])
  })
})

describe('thesis §6.4: reads without writing', () => {
  it('go ahead when a majority has answered a round that began after they came', () => {
    const { node, take } = leading(foundedBy(FIVE))
    for (const from of [B, C]) node.step(reply(from, 2, 2))
    take()
    node.read()
    node.read()
    const rounds = new Set(take().map(message => (message.kind === 'append' ? message.round : -1)))
    assert.equal(rounds.size, 2, 'a round for each turn')
    node.step(reply(B, 2, 2, 1))
    assert.equal(node.readsDone, 0)
    node.step(reply(B, 2, 2, 2))
    assert.equal(node.readsDone, 0, 'the same follower twice')
    node.step(reply(C, 2, 2, 1))
    assert.equal(node.readsDone, 1)
    node.step(reply(D, 2, 2, 2))
    assert.equal(node.readsDone, 2)
  })

  it('wait until the leader has committed an entry of its own term', () => {
    const { node } = leading(stateOf([1, 1], THREE))
    node.read()
    node.step(reply(B, 2, 2, 1))
    assert.equal(node.readsDone, 0)
    node.step(reply(B, 2, 3, 1))
    node.step(reply(B, 2, 3, 1))
    assert.equal(node.readsDone, 1)
  })

  it('never go ahead at a leader that has been replaced', () => {
    const net = five()
    net.elect(A)
    net.run(100)
    net.split([A, B], [C, D, E])
    net.node(A).read()
    net.elect(C)
    net.node(C).propose('new')
    net.run(5000)
    assert.equal(net.node(A).readsDone, 0)
  })

  it('go from a follower to the leader and back', () => {
    const net = five()
    net.elect(A)
    net.run(100)
    net.node(A).propose('x')
    net.run(2)
    assert.ok(net.node(D).read())
    net.run(100)
    assert.equal(net.node(D).readsDone, 1)
  })
})

describe('thesis §9.6: asking before standing', () => {
  it('a node that was cut off does not depose the leader when it comes back', () => {
    const net = five()
    net.elect(A)
    net.run(100)
    net.isolate(E)
    net.run(30_000)
    assert.equal(net.node(E).raft!.term, 2)
    net.heal()
    net.run(10_000)
    assert.deepEqual([net.leader!.id, net.leader!.raft!.term], [A, 2])
  })

  it('consent to a question binds nobody', () => {
    const { node, take } = solo()
    node.step({ ...vote(B, 2, 1, 1), pre: true })
    node.step({ ...vote(C, 2, 1, 1), pre: true })
    const granted = take().map(message => message.kind === 'voteReply' && message.pre && message.granted)
    assert.deepEqual(granted, [true, true])
    assert.deepEqual([node.raft!.term, node.disk.state.hardState.term], [1, 1])
  })

  it('whoever hears from a leader does not consent', () => {
    const { node, take } = solo()
    node.step(append(B, 1))
    take()
    node.step({ ...vote(C, 2, 9, 1), pre: true })
    node.step(vote(C, 2, 9, 1))
    assert.deepEqual(take(), [])
    assert.equal(node.raft!.term, 1)
  })
})

describe('thesis §10.2.1: writing to the disk in parallel', () => {
  it('a leader sends entries before it has written them, and commits without itself when others are faster', () => {
    const net = five()
    net.elect(A)
    net.run(100)
    net.weather.writeMaxMs = 0
    const slow = net.node(A)
    const { log } = slow.raft!
    const stable = log.stable
    net.weather.writeMaxMs = 400
    slow.propose('x')
    net.weather.writeMaxMs = 0
    net.run(5)
    assert.equal(log.stable, stable)
    assert.equal(log.committed, stable + 1)
    assert.deepEqual(slow.commands, [], 'its own state never runs ahead of its own log')
    net.run(500)
    assert.deepEqual(slow.commands, ['x'])
  })
})
