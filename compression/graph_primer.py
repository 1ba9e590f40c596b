"""What the statistics of the graph section begin with: part of the file format.

A stream of symbols without a primer that holds a few common networks. It never changes;
tests/compression/golden/make_primer.py wrote it.
"""

from base64 import b85decode

PRIMER = b85decode(
    b"G=ijQMjWM${Uxa1xzO-{D%q4f!$8Z8vSIOI8RC(ZK5iwrh*QF+Au${0d?4%>`zBi@Bn>E_<KGVmY"
    b"6tJ1LYuMssPCElQG>76kxZRdQ%`Vt>?u)H;Dl~z3%=FLl;yIgrfYEUwoTiCA_eojxfmNwJ81dEBy"
    b"QjWb;B*DrGV5|0!U>i#o!H9j=$0n>qXjI-}Wq$4gNXl^&Vk6(zvd(+?QS9>a@lMyhw&yOcq3^WC7"
    b"%PE4<QR%rEpuZCb1%4}z#N@+=iNv)gsou=`N#xONk4BJ;(&36q;YUGj+IHs*B87og!RoRKMXpO7!"
    b"f1T8`*uUZ~Gnxmx^cO3TvQ_3$EVF1v7*%1tStM-}_^T9GsNt@mJ_PHKM4ctb`K{n>494V#PqVv5l"
    b"Z)4pkO6*;w2)GtC+Kz^*joeF9kF3{wPZ3+4ny=vaN)oby2M@m^sjV0P3C%Wu;ux?U^O`Y(hPtRvz"
    b"e>>ErIj&etA28;&<Isy^*R#tZmx)K+`Pq4J)<acHQ>{Hnnio@#dkES_56er#gE7XeVlnN**twn?d"
    b"#{2#jDm9lsDo=dT?C3Vc3n9e;f|#>iMMPzVkxRB3o(e0R3L-{Oc+i_h-gi&OmLF#tE_nYAQX-s-S"
    b"RZNq$ycWs3!BKzQq|f;N41aQ4y5?#O0M{EXa*@lsWykg)PFxrjv3h?oB+i?jSZE3bb97jv8=*mSa"
    b"Hp@yeDSSnv1MAVW+V@s{uX{vai#Z|>VX}s1}^P+19Eb=sRMt6gA45niH`6Z}dHgkWmw@4${Nh%hU"
    b"iX<=v^37QF43?Cl^g*U-(lmjpRyc!>;+fcanXj3n=bIFuIggRK!n5lHOMI$L>BUIWzMk`owLbPm8"
    b"(PXdiO=fKkwRu9w%|Tf&c+5Mrlu<#aeGCjBVjww9zZHnVYWeKW4m=r``b;6C<!s+TTMQ%1tA!ZS;"
    b"-+>5$rzAnUl%5Q_tY~+DVoUAUjNyT2B#6&yRuNWPj%b2WlH@inS0*!_zvNCei(jJ6|cDYQX"
)
