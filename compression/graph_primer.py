"""What the statistics of the graph section begin with: part of the file format.

A stream of symbols without a primer that holds a few common networks. It never changes;
tests/compression/golden/make_primer.py wrote it.
"""

from base64 import b85decode

PRIMER = b85decode(
    b"G=ijQMjWM${Uxa1xzO-{D%q4f!$8Z8vSIOI8RC(ZK5iwrh*QF+Au${0d?4%>`zBi@Bn>E_<KGVmY"
    b"6tJ1LYuMssPCElQG>76kxZRdQ%`Vt>?u)H;Dl~z3%=Imu`+F^kqPPFh?^1n6XO8F2vr!woo70O*8"
    b"<14aNKsOpJkjMzV$^ufBiE0584l?J}}84iLVIT2<4quK}?c3w8m~EzJ)PwVBQTqwAr&^S~7Iman|"
    b"zVR~-!?k`B7U<AF<sppgL8_5RY5`X82>Z({A(H&G2vt7ioV>T}}2n|;8yh)d<yk&wZ8{-b~zHC+L"
    b"tN~ho(Dr1^b83i!v8BcB4HIph6rZQ&~a()kXq2j&lXVTL+#Rdz?5Yd`m*+t~0V$%*2=_DgZZKs7E"
    b"%SUY3HXj~U8dMa__B8}k2mT{c0(@S>Za6FYX~W|B1E=oKaEf$U!u4hS_@BMw(og#vFhSI_;?t`D8"
    b"P8mx5vBie!7sNFeB)Zi4QM?M(~I`;4GF3TG1cEjkglQZRO5BP)MJ?}x)Z(<yK-4iXf>1ZY(r9n#$"
    b"1oUbc|gqq)Xq-4QoR(CZH6lFA8uVz3yz<sr6HksT|qWI0&m$cM)4^nCB;JJh^xRvaj3OBIw)?)-+"
    b"9d{+@z2nUoW6LxnOi#>R!7H>9XMC}7WQ5PVUZMZwxTLxCBj%Je=V7>iS~$T-eY1mRfNys!S{Jnzb"
    b"F8Y1l?D81QSW~^X`bCY<*+V;;JMfvOPh;t$+9;I^s(C;lkln<Mm!p-Z={4o3z8vTy$X@H!X_~O&3"
    b"9Q7nY@`l8+GiVj!>_`8ql|?f}8lMomSdp#D9;-R$Fsy@7Pn+CEse8-7scUy6q>tAeCzy`f<7lt?D"
    b"FC$fdY{}})zA#aH_y|(C8!LrW*U$p%rC_QLlHDO7!Da`rW4S3{UYgm(m+d>yuYUc=Zh_OB(-+k+>"
    b"`hx^T^>shDgdJan=Hb*%VFu6@zcolN9|RR!l)tk;|Z9B;vb3D=$ALK$-_WAY*2^(#QKEU*eD"
)
