"""What a learner sees: how this machine is, what labrt has left in it, and pictures of both.

    doctor/     what this machine can do, and what to type where it cannot      labrt.doctor()
    ledger      what labrt has made and not yet taken down; takes it down       labrt.reset()
    show        tables and pictures as HTML and SVG, each with the same in text

The top floor but for the command line: it may use every other, and none of them uses it.
"""
